"""`fedlab doctor`: what this machine has, what training needs, and on each problem's line how to mend it.

It must speak when packages are missing or broken, so nothing but the standard library is imported at the top; TensorFlow
and TenSEAL are tried in processes of their own, where even a crash is only an answer.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import fedlab
from fedlab.cli.parsing import Parser

DISTRIBUTION = "fedlab-runner"
PYTHONS = ((3, 10), (3, 11))  # the lowest and highest that TensorFlow Federated 0.87 runs on

# Packages that TFF 0.87 pins to a version no longer published: named here so that they are checked like direct ones.
OVERRIDDEN = ("jax", "jaxlib")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report. `status`: "ok", "note" (training works all the same) or "problem" (it does not)."""

    name: str
    status: str
    detail: str
    remedy: str = ""


def check_python() -> Iterator[Finding]:
    low, high = PYTHONS
    detail = f"{platform.python_version()} ({sys.prefix})"
    if low <= sys.version_info[:2] <= high:
        yield Finding("python", "ok", detail)
    else:
        yield Finding("python", "problem", detail, "install fedlab into an environment of Python 3.10 or 3.11")


def pins_file(extra: str = "base") -> pathlib.Path:
    """The exact versions fedlab is tested with: inside the package when installed from a wheel, beside it in a checkout."""
    package = pathlib.Path(fedlab.__file__).parent
    inside = package / "requirements"
    return (inside if inside.is_dir() else package.parent / "requirements") / f"{extra}.txt"


def install_pins(extra: str = "base") -> str:
    return f"pip install --no-deps --require-hashes -r {pins_file(extra)}"


def read_pins() -> dict[str, str]:
    """{canonical name: version} of every pin that holds for this Python."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins: dict[str, str] = {}
    for line in pins_file().read_text().splitlines():
        if "==" in line and not line.startswith(("#", " ")):
            pin = Requirement(line.rstrip("\\ "))
            if pin.marker is None or pin.marker.evaluate():
                pins[canonicalize_name(pin.name)] = next(iter(pin.specifier)).version
    return pins


def installed_version(name: str) -> str:
    """The installed version of a distribution, or the empty string."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def check_packages() -> Iterator[Finding]:
    try:
        from packaging.requirements import Requirement
        from packaging.utils import canonicalize_name
    except ImportError:
        yield Finding("packaging", "problem", "not installed, so no versions can be compared", "pip install 'packaging>=22'")
        return
    pins = read_pins()
    try:
        wanted = [Requirement(line) for line in importlib.metadata.requires(DISTRIBUTION) or ()]
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            DISTRIBUTION, "note", "not installed, only on the path, so no versions were compared", "pip install --no-deps ."
        )
        return
    direct = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    for requirement in [*direct, *map(Requirement, OVERRIDDEN)]:
        name = canonicalize_name(requirement.name)
        version, pin = installed_version(name), pins.get(name, "")
        remedy = f"pip install --no-deps '{name}=={pin}'" if pin else f"pip install '{requirement}'"
        if not version:
            yield Finding(name, "problem", "not installed", remedy)
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Finding(name, "problem", f"{version} installed, fedlab needs {requirement.specifier}", remedy)
        elif pin and version != pin:
            yield Finding(name, "note", f"{version} installed, tested with {pin}", f"only if something fails: {remedy}")
        else:
            yield Finding(name, "ok", version + (" (pinned here, whatever TFF asks for)" if name in OVERRIDDEN else ""))
    names = {canonicalize_name(r.name) for r in direct} | set(OVERRIDDEN)
    others = {name: (installed_version(name), pin) for name, pin in pins.items() if name not in names}
    missing = [name for name, (version, _) in others.items() if not version]
    moved = [f"{name} {version} (tested with {pin})" for name, (version, pin) in others.items() if version not in ("", pin)]
    if missing or moved:
        shown = [f"{name} absent" for name in missing] + moved
        detail = f"{len(shown)} of {len(others)} not as pinned: {', '.join(shown[:3])}{', …' if len(shown) > 3 else ''}"
        yield Finding("their packages", "note", detail, f"only if something fails: {install_pins()}")
    else:
        yield Finding("their packages", "ok", f"all {len(others)} as pinned")


# Each probe prints one JSON line per thing that works. What `python -c` adds to the path, `fedlab train` does not have.
PROBE_START = "import json, sys, warnings; sys.path[:] = [p for p in sys.path if p]; warnings.simplefilter('ignore')\n"
TENSORFLOW_PROBE = """
import tensorflow as tf
gpus = [tf.config.experimental.get_device_details(g).get("device_name", g.name) for g in tf.config.list_physical_devices("GPU")]
print(json.dumps(["tensorflow", gpus]), flush=True)
import tensorflow_federated
print(json.dumps(["tensorflow_federated", []]), flush=True)
"""
TENSEAL_PROBE = """
import tenseal
context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=8192, coeff_mod_bit_sizes=[60, 40, 60])
context.global_scale = 2**40
[three] = (tenseal.ckks_vector(context, [1.0]) + tenseal.ckks_vector(context, [2.0])).decrypt()
assert abs(three - 3) < 1e-3, f"1 + 2 came out of the encryption as {three}"
print(json.dumps(["tenseal", []]), flush=True)
"""


def start_probe(code: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", PROBE_START + code]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish_probe(process: subprocess.Popen[str], seconds: float = 120) -> tuple[dict[str, list[str]], str]:
    """What worked, and how it ended otherwise: the last line of its errors, or the signal that killed it."""
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        return dict(json.loads(line) for line in output.splitlines() if line.startswith("[")), f"no answer in {seconds:.0f} s"
    worked = dict(json.loads(line) for line in output.splitlines() if line.startswith("["))
    if process.returncode == -signal.SIGILL:
        return worked, "killed by an instruction that this processor lacks (TensorFlow 2.14 needs AVX)"
    if process.returncode < 0:
        return worked, f"killed by {signal.Signals(-process.returncode).name}"
    return worked, "" if process.returncode == 0 else (errors.strip().splitlines() or ["failed without a word"])[-1]


def reinstall(name: str) -> str:
    """How to install one package anew, or all where the pins do not know that name."""
    try:
        pin = read_pins().get(name)
    except (ImportError, OSError):
        pin = None
    return f"pip install --no-deps --force-reinstall '{name}=={pin}'" if pin else install_pins()


def check_tenseal(process: subprocess.Popen[str]) -> Iterator[Finding]:
    worked, error = finish_probe(process)
    if "tenseal" in worked:
        yield Finding("TenSEAL", "ok", "encrypts, adds and decrypts")
    else:
        remedy = f"{reinstall('tenseal')}; or look for another module of that name on PYTHONPATH"
        yield Finding("TenSEAL", "problem", f"does not work: {error}", remedy)


def check_tensorflow(process: subprocess.Popen[str]) -> Iterator[Finding]:
    worked, error = finish_probe(process)
    for module, name in (("tensorflow", "TensorFlow"), ("tensorflow_federated", "TensorFlow Federated")):
        if module in worked:
            yield Finding(name, "ok", "imports")
        else:
            yield Finding(name, "problem", f"does not import: {error}", reinstall(module.replace("_", "-")))
            return
    if worked["tensorflow"]:
        yield Finding("GPU", "ok", ", ".join(worked["tensorflow"]))
    elif not os.path.exists("/dev/nvidiactl") and not shutil.which("nvidia-smi"):
        yield Finding("GPU", "ok", "none, so training runs on the CPU")
    elif installed_version("nvidia-cudnn-cu11"):
        yield Finding(
            "GPU", "note", "an NVIDIA driver is here, but TensorFlow sees no GPU", "nvidia-smi must show driver 450.80 or newer"
        )
    else:
        yield Finding(
            "GPU", "note", "an NVIDIA driver is here, but TensorFlow lacks its CUDA 11.8 libraries", install_pins("gpu")
        )


def check_hardware() -> Iterator[Finding]:
    import psutil

    yield Finding("CPU", "ok", f"{len(os.sched_getaffinity(0))} cores usable")
    memory = psutil.virtual_memory()
    detail = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    if memory.available >= 1.5 * 2**30:
        yield Finding("memory", "ok", detail)
    else:
        yield Finding("memory", "note", detail, "TensorFlow alone takes about 0.6: close something, or lower data.max_examples")


def check_configuration() -> Iterator[Finding]:
    from fedlab.cli.config import config_dir

    if (config_dir() / "train.yaml").is_file():
        yield Finding("configuration", "ok", str(config_dir()))
    else:
        yield Finding(
            "configuration",
            "problem",
            f"{config_dir()} has no train.yaml",
            "install fedlab anew (in a checkout: git restore conf)",
        )


def check_digits() -> Iterator[Finding]:
    from fedlab.data import Digits

    digits = Digits().load(seed=0)
    yield Finding("data digits", "ok", f"{len(digits.train)} + {len(digits.test)} examples, from scikit-learn")


def check_data() -> Iterator[Finding]:
    """The data sets that consist of published files: all there and undamaged? `digits` suffices to train, so never a problem."""
    from fedlab import data
    from fedlab.errors import DataError

    for source in (getattr(data, name) for name in data.__all__):
        if any(field.is_required() for field in source.model_fields.values()) or not hasattr(source, "name"):
            continue  # a user's own file, or the base of all
        files = source().files()
        if not files:
            continue
        name, fetch = f"data {source.name}", f"fedlab data fetch {source.name}"
        try:
            source().verify()
            yield Finding(name, "ok", f"{len(files)} file{'s' if len(files) > 1 else ''} in {source().data_dir}")
        except DataError as error:
            if any(path.exists() for path in files):
                yield Finding(name, "note", str(error).partition(". Run ")[0].partition(": ")[2], fetch)
            else:
                yield Finding(name, "note", f"not in {source().data_dir}", f"{fetch}, if you want it")


def check_disk() -> Iterator[Finding]:
    folder = next(path for path in (pathlib.Path("outputs"), pathlib.Path()) if path.is_dir()).resolve()
    free = shutil.disk_usage(folder).free / 2**30
    elsewhere = "go to another folder, or set hydra.run.dir=/some/other/folder"
    if not os.access(folder, os.W_OK):
        yield Finding("disk", "problem", f"{folder}: runs cannot be written here", elsewhere)
    elif free < 0.1:
        yield Finding("disk", "problem", f"{folder}: {free * 1024:.0f} MiB free", f"free some space, {elsewhere}")
    else:
        yield Finding("disk", "ok", f"{free:.1f} GiB free in {folder}")


def guarded(check: Callable[..., Iterator[Finding]], *args: object) -> list[Finding]:
    """The findings of a check; when the check itself breaks, that is a finding."""
    findings = []
    try:
        for finding in check(*args):
            findings.append(finding)
    except Exception as error:  # whatever is wrong with this machine, the other checks must still run
        name = check.__name__.replace("check_", "")
        missing = (error.name or "") if isinstance(error, ImportError) else ""
        remedy = reinstall(missing.replace("_", "-"))
        findings.append(Finding(name, "problem", f"{type(error).__name__}: {error}", remedy))
    return findings


def examine() -> list[Finding]:
    """All findings, in the order of the report."""
    tensorflow, tenseal = start_probe(TENSORFLOW_PROBE), start_probe(TENSEAL_PROBE)
    findings = guarded(check_python) + guarded(check_packages)
    rest = [
        *guarded(check_configuration),
        *guarded(check_hardware),
        *guarded(check_disk),
        *guarded(check_digits),
        *guarded(check_data),
    ]
    return findings + guarded(check_tensorflow, tensorflow) + guarded(check_tenseal, tenseal) + rest


def render(findings: Sequence[Finding], colour: bool) -> str:
    marks = {"ok": ("✓", "32"), "note": ("!", "33"), "problem": ("✗", "31")}
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        mark, code = marks[finding.status]
        mark = f"\033[{code}m{mark}\033[0m" if colour else mark
        lines.append(f"{mark} {finding.name:<{width}}  {finding.detail}{' → ' + finding.remedy if finding.remedy else ''}")
    problems = sum(finding.status == "problem" for finding in findings)
    lines.append("")
    if problems:
        lines.append(
            f"Training would not work: {problems} problem{'s' if problems > 1 else ''} (✗), each with its remedy after the arrow."
        )
    else:
        lines.append("This machine can train: fedlab train +experiment=digits/fedavg")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Prints the report; returns 0 when training would work and 1 when it would not."""
    parser = Parser(prog="fedlab doctor", description="Check that this machine can train, and how to mend what cannot.")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    args = parser.parse(argv)
    findings = examine()
    healthy = all(finding.status != "problem" for finding in findings)
    if args.json:
        report = {"fedlab": fedlab.__version__, "can_train": healthy, "findings": [dataclasses.asdict(f) for f in findings]}
        print(json.dumps(report, indent=2))
    else:
        print(render(findings, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return 0 if healthy else 1
