"""The stages of an investigation: classifier, filters, GANs, verdict. One that has been done is not done again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import signal
import subprocess
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console

from fedlab.archive import RunFolder, make_folder, private, read_run
from fedlab.archive.folder import relative
from fedlab.archive.investigation import ARMS, InvestigationFolder
from fedlab.archive.manifest import WITHOUT_EFFECT
from fedlab.archive.sweep import JobFolder, JobRecord
from fedlab.cli import config as configuration
from fedlab.cli import judging
from fedlab.cli.child import job_command
from fedlab.cli.filter import write_by_example, write_by_user
from fedlab.cli.job import say
from fedlab.errors import ConfigError, FedlabError
from fedlab.evaluation.symptoms import Verdict
from fedlab.filter.files import read_users
from fedlab.process import Gan
from fedlab.run.investigation import Investigation, conclude, described, read_images, tried_on_real


@dataclasses.dataclass(frozen=True)
class Plan:
    """One investigation, checked as far as it can be before it begins."""

    options: Investigation
    config: dict[str, Any]  # of the GANs' run, without arms
    name: str
    command: str
    folder: InvestigationFolder
    classifier: tuple[pathlib.Path, dict[str, Any], str] | None  # what to train, where, its name; None: there is one

    @property
    def model(self) -> pathlib.Path:
        """The classifier's file."""
        if self.classifier:
            return RunFolder(self.classifier[0]).model
        path = pathlib.Path(str(self.options.classifier)).expanduser()
        return RunFolder(path).model if path.is_dir() else path


def plan(overrides: list[str], own: str | None, root: pathlib.Path | None, command: str) -> Plan:
    """From the words of the command. Raises `ConfigError` for what cannot work."""
    composed = configuration.compose(overrides, own)
    if "investigation" not in composed:
        raise ConfigError("there is nothing to investigate: choose an investigation, such as +experiment=gan/debug.")
    options: Investigation = configuration.build(composed, "investigation")
    config: Any = OmegaConf.to_container(composed, resolve=True)
    del config["investigation"]
    name = next((o.partition("=")[2] for o in overrides if o.startswith("+experiment=")), "investigation")
    shared = root or pathlib.Path("investigations")  # a classifier serves all that it can serve
    folder = InvestigationFolder((root or shared / name) / _digest({**_relevant(config), "investigation": options.model_dump()}))
    classifier = None
    if not isinstance(options.classifier, str):
        trained: Any = OmegaConf.to_container(configuration.compose(list(options.classifier), own), resolve=True)
        configuration.build_experiment(OmegaConf.create(trained)).check()
        label = next((o.partition("=")[2] for o in options.classifier if o.startswith("+experiment=")), "classifier")
        classifier = (shared / f"classifier-{_digest(_relevant(trained))}", trained, label)
    planned = Plan(options, config, name, command, folder, classifier)
    if not classifier and not planned.model.is_file():
        raise ConfigError(f"investigation.classifier={options.classifier}: no such .keras file, or run with a model in it.")
    experiment = configuration.build_experiment(OmegaConf.create(config))
    if not isinstance(experiment.process, Gan) or experiment.arms:
        raise ConfigError("an investigation trains GANs in arms of its own: it needs process=gan, and no arms.")
    experiment.check()
    return planned


def investigate(plan: Plan, console: Console) -> Verdict:
    """Goes through the stages. Raises `FedlabError`."""
    folder = plan.folder
    make_folder(folder.path)
    say(console, f"investigation in {relative(folder.path)}")
    if plan.classifier:
        path, config, name = plan.classifier
        _train(path, config, name, plan.command, console)
    if not folder.trial.is_file():
        folder.write(folder.trial, _filtered(plan, console))
    trial = folder.read(folder.trial)
    if trial.get("classifier") != hashlib.sha256(plan.model.read_bytes()).hexdigest():
        raise FedlabError(
            f"{relative(folder.path)} was begun with another classifier than {plan.model} is now: remove that folder, "
            "or give --out."
        )
    for line in trial["lines"]:
        say(console, line)
    arms = {arm: {"filter": plan.options.filter_spec(folder.filters[arm].absolute())} for arm in ARMS}
    config = {**plan.config, "arms": arms}
    if "classifier" in config["evaluation"] and config["evaluation"]["classifier"] is None:
        config["evaluation"] = {**config["evaluation"], "classifier": str(plan.model.absolute())}
    _train(folder.gans.path, config, plan.name, plan.command, console)
    return _concluded(plan, trial)


def _filtered(plan: Plan, console: Console) -> dict[str, Any]:
    """Tries the classifier on the users, with the bug in their data, and writes both filters."""
    options, folder, stages = plan.options, plan.folder, OmegaConf.create({s: plan.config[s] for s in judging.STAGES})
    from fedlab.filter import Threshold

    tried = judging.tried(plan.model, stages)
    lines = []
    for arm, path in folder.filters.items():
        if options.by == "user":
            threshold = Threshold.parse(options.low if arm == "low" else options.high)
            lines.append(write_by_user(tried, threshold, arm == "low", path, plan.command))
        else:
            lines.append(write_by_example(tried, arm == "low", options.min_examples, path, plan.command))
    if options.by == "user":
        in_both = len(read_users(folder.filters["low"]).keys() & read_users(folder.filters["high"]).keys())
        lines += [f"{in_both:,} users are in both groups: accuracies are much alike"] if in_both else []
    from fedlab.report.accuracy_plot import plot_accuracies

    judged = tried.judged
    plot_accuracies({"without the bug": judged.accuracies_clean, "with the bug": judged.accuracies}, folder.histogram)
    corruption = configuration.build(stages, "corruption")
    return {
        "by": options.by,
        "bug": str(plan.config["corruption"]["_target_"]).rpartition(".")[2],
        "lines": lines,
        "classifier": tried.sha256,
        **described(judged, tried.population),
        "real": tried_on_real(tried.population, corruption, int(stages.seed)),
        "config": {stage: plan.config[stage] for stage in judging.STAGES},
    }


def _concluded(plan: Plan, trial: dict[str, Any]) -> Verdict:
    """The verdict, its files, the picture of both grids, the page."""
    from fedlab.report.investigation_page import save_side_by_side, write_investigation

    folder, found = plan.folder, conclude(plan.folder, trial)
    save_side_by_side({arm: read_images(folder, arm) for arm in ARMS}, folder.grids)
    folder.write_text(found.lines())
    folder.write(folder.verdict, {**found.as_json(), "command": plan.command})
    write_investigation(folder, plan.name)
    return found


def _train(path: pathlib.Path, config: dict[str, Any], name: str, command: str, console: Console) -> None:
    """A run in `path`, in a process of its own: begun, gone on with, or there already."""
    folder = JobFolder(path)
    if _status(folder) == "finished":
        say(console, f"{relative(path)}: finished before")
        return
    make_folder(path)
    folder.write(JobRecord(number=0, name=name, command=command, parameters={}, config=config))
    say(console, f"{relative(path)}: training; what it says is in {relative(folder.log)}")
    with open(folder.log, "ab", opener=private) as log:
        child = subprocess.Popen(
            job_command(path),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # it is told of Ctrl-C once, by us
        )
        try:
            code = child.wait()
        except (KeyboardInterrupt, SystemExit):  # it saves its state, and we with it
            child.send_signal(signal.SIGTERM)
            child.wait()
            say(console, "to go on: the same command again")
            raise
    if code:
        lines = [line for line in folder.log.read_text(errors="replace").splitlines() if line.strip()]
        raise FedlabError(f"{relative(path)}: {lines[-1].removeprefix('fedlab train: ') if lines else f'exit code {code}'}")


def _status(folder: RunFolder) -> str | None:
    try:
        return read_run(folder.path).status
    except FedlabError:
        return None


def _relevant(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in WITHOUT_EFFECT or key == "num_rounds"}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:8]
