"""The checks of `fedlab doctor`: whether this machine can train, and how to fix each problem.

It must work when packages are missing or broken. It therefore imports only the standard library at the top, and tests
TensorFlow and TenSEAL in processes of their own, so that a crash becomes a finding.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from subprocess import Popen

from fedlab.cli import pins, probes

PYTHONS = ((3, 10), (3, 11))  # lowest and highest version that TensorFlow Federated 0.87 supports
GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report. `remedy`: "" if all is well. `works`: training works all the same."""

    name: str
    detail: str
    remedy: str = ""
    works: bool = False

    @property
    def status(self) -> str:
        """Returns ok, note or problem."""
        return "ok" if not self.remedy else "note" if self.works else "problem"


def check_python() -> Iterator[Finding]:
    remedy = "" if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1] else "install fedlab with Python 3.10 or 3.11"
    yield Finding("python", f"{platform.python_version()} ({sys.prefix})", remedy)


def check_packages() -> Iterator[Finding]:
    if not pins.installed(pins.DISTRIBUTION):
        yield Finding(pins.DISTRIBUTION, "not installed, so no versions were compared", "pip install --no-deps .", works=True)
        return
    tested, direct = pins.read(), pins.direct()
    for name, requirement in direct.items():
        version, pin = pins.installed(name), tested.get(name, "")
        remedy = f"pip install --no-deps '{name}=={pin}'" if pin else f"pip install '{requirement}'"
        if not version:
            yield Finding(name, "not installed", remedy)
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Finding(name, f"{version} installed, fedlab needs {requirement.specifier}", remedy)
        elif pin and version != pin:
            yield Finding(name, f"{version} installed, tested with {pin}", f"only if something fails: {remedy}", works=True)
        else:
            yield Finding(name, version + (" (pinned here, whatever TFF asks for)" if name in pins.OVERRIDDEN else ""))
    others = {name: (pins.installed(name), pin) for name, pin in tested.items() if name not in direct}
    odd = [f"{n} {v} (tested with {pin})" if v else f"{n} absent" for n, (v, pin) in others.items() if v != pin]
    if odd:
        detail = f"{len(odd)} of {len(others)} not as pinned: {', '.join(odd[:3])}{', …' if len(odd) > 3 else ''}"
        yield Finding("their packages", detail, f"only if something fails: {pins.install()}", works=True)
    else:
        yield Finding("their packages", f"all {len(others)} as pinned")


def check_tensorflow(probe: Popen[str]) -> Iterator[Finding]:
    lines, error = probes.result(probe)
    for module, name in (("tensorflow", "TensorFlow"), ("tensorflow_federated", "TensorFlow Federated")):
        if module not in lines:
            yield Finding(name, f"does not import: {error}", pins.reinstall(module.replace("_", "-")))
            return
        yield Finding(name, "imports")
    gpus = ", ".join(line.partition(" ")[2] for line in lines if line.startswith("GPU "))
    if gpus or not (os.path.exists("/dev/nvidiactl") or shutil.which("nvidia-smi")):
        yield Finding("GPU", gpus or "none, so training runs on the CPU")
        return
    libraries = pins.installed("nvidia-cudnn-cu11")
    remedy = "nvidia-smi must show driver 450.80 or newer" if libraries else pins.install("gpu")
    lacking = "sees no GPU" if libraries else "lacks its CUDA 11.8 libraries"
    yield Finding("GPU", f"an NVIDIA driver is here, but TensorFlow {lacking}", remedy, works=True)


def check_tenseal(probe: Popen[str]) -> Iterator[Finding]:
    lines, error = probes.result(probe)
    if "tenseal" in lines:
        yield Finding("TenSEAL", "encrypts, adds and decrypts")
    else:
        remedy = f"{pins.reinstall('tenseal')}; or look for another module of that name on PYTHONPATH"
        yield Finding("TenSEAL", f"does not work: {error}", remedy)


def check_configuration() -> Iterator[Finding]:
    from fedlab.config.choices import config_dir

    missing = not (config_dir() / "train.yaml").is_file()
    remedy = "install fedlab anew (in a checkout: git restore conf)" if missing else ""
    yield Finding("configuration", f"{config_dir()}{' has no train.yaml' if missing else ''}", remedy)


def check_hardware() -> Iterator[Finding]:
    import psutil

    yield Finding("CPU", f"{len(os.sched_getaffinity(0))} cores usable")
    memory = psutil.virtual_memory()
    low = "TensorFlow alone takes about 0.6: close something, or lower data.max_examples" * (memory.available < 1.5 * GIB)
    yield Finding("memory", f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free", low, works=True)


def check_disk() -> Iterator[Finding]:
    folder = next(path for path in (pathlib.Path("outputs"), pathlib.Path()) if path.is_dir()).resolve()
    free = shutil.disk_usage(folder).free / GIB
    elsewhere = "go to another folder, or set hydra.run.dir=/some/other/folder"
    if not os.access(folder, os.W_OK):
        yield Finding("disk", f"{folder}: runs cannot be written here", elsewhere)
    elif free < 0.1:
        yield Finding("disk", f"{folder}: {free * 1024:.0f} MiB free", f"free some space, {elsewhere}")
    else:
        yield Finding("disk", f"{free:.1f} GiB free in {folder}")


def check_data() -> Iterator[Finding]:
    """Checks the published data sets. A missing file is a note, because `digits`, which has no files, suffices to train."""
    from fedlab import data
    from fedlab.errors import DataError

    for kind in (getattr(data, name) for name in data.__all__):
        if not hasattr(kind, "name") or any(field.is_required() for field in kind.model_fields.values()):
            continue  # the base class, or a user's own file
        source, name = kind(), f"data {kind.name}"
        files, fetch = source.files(), f"fedlab data fetch {kind.name}"
        if not files:
            loaded = source.load(seed=0)
            yield Finding(name, f"{len(loaded.train):,} + {len(loaded.test):,} examples, part of the installation")
            continue
        try:
            source.verify()
            yield Finding(name, f"{len(files)} file{'s' * (len(files) > 1)} in {source.data_dir}")
        except DataError as error:
            here = any(path.exists() for path in files)
            detail = str(error).partition(". Run ")[0].partition(": ")[2] if here else f"not in {source.data_dir}"
            yield Finding(name, detail, fetch if here else f"{fetch}, if you want it", works=True)


def guarded(check: Callable[..., Iterator[Finding]], *args: object) -> list[Finding]:
    """Returns the findings of a check. An exception of the check becomes a finding."""
    findings: list[Finding] = []
    try:
        findings.extend(check(*args))  # keeps the findings from before an error
    except Exception as error:  # the other checks must still run
        missing = ((error.name or "") if isinstance(error, ImportError) else "").replace("_", "-")
        findings.append(
            Finding(check.__name__.replace("check_", ""), f"{type(error).__name__}: {error}", pins.reinstall(missing))
        )
    return findings


def examine() -> list[Finding]:
    """Returns all findings, in the order of the report."""
    others = (check_configuration, check_hardware, check_disk, check_data)
    with probes.probe("tensorflow") as tensorflow, probes.probe("tenseal") as tenseal:  # they run during the other checks
        first = [*guarded(check_python), *guarded(check_packages)]
        rest = [finding for check in others for finding in guarded(check)]
        return [*first, *guarded(check_tensorflow, tensorflow), *guarded(check_tenseal, tenseal), *rest]
