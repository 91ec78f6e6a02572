"""The stages of an investigation: classifier, filters, GANs, verdict. A finished stage is not repeated."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from omegaconf import OmegaConf

from fedlab.algorithms import Gan
from fedlab.archive import RunFolder, make_folder
from fedlab.archive.folder import relative
from fedlab.archive.manifest import deciding
from fedlab.config import composing as configuration
from fedlab.errors import ConfigError, FedlabError
from fedlab.filter.files import read_users
from fedlab.fingerprint import file_fingerprint, json_fingerprint
from fedlab.run import locations, rules
from fedlab.run.child import JobFolder, JobRecord, running
from fedlab.run.progress import OnLine
from fedlab.stopping import STOPS
from fedlab.studies.investigate.conclusion import conclude, described, read_images, read_real, real_images, write_real
from fedlab.studies.investigate.filtering import write_by_example, write_by_user
from fedlab.studies.investigate.options import Investigation
from fedlab.studies.investigate.record import ARMS, InvestigationFolder
from fedlab.studies.investigate.subject import STAGES, tried_subject
from fedlab.studies.investigate.symptoms import Verdict, shares


@dataclasses.dataclass(frozen=True)
class InvestigationPlan:
    """One investigation, validated as far as possible before it begins."""

    options: Investigation
    config: dict[str, Any]  # of the run of the GANs, without arms
    name: str
    command: str
    folder: InvestigationFolder
    classifier: tuple[pathlib.Path, dict[str, Any], str] | None  # (folder, configuration, name) to train; None: it exists

    @property
    def model(self) -> pathlib.Path:
        """Returns the path of the classifier's model file."""
        if self.classifier:
            return RunFolder(self.classifier[0]).model
        path = pathlib.Path(str(self.options.classifier)).expanduser()
        return RunFolder(path).model if path.is_dir() else path


def plan(overrides: list[str], own: str | None, root: pathlib.Path | None, command: str) -> InvestigationPlan:
    """Plans the investigation that the overrides describe. Raises `ConfigError` for invalid overrides."""
    composed = configuration.compose(overrides, own)
    if "investigation" not in composed:
        raise ConfigError("there is nothing to investigate: choose an investigation, such as +experiment=gan/debug.")
    options: Investigation = configuration.build(composed, "investigation")
    config: Any = OmegaConf.to_container(composed, resolve=True)
    del config["investigation"]
    name = next((o.partition("=")[2] for o in overrides if o.startswith("+experiment=")), "investigation")
    shared = root or pathlib.Path("investigations")  # investigations with equal overrides share a classifier
    folder = InvestigationFolder(
        (root or shared / name) / json_fingerprint({**_relevant(config), "investigation": options.model_dump()}, 8)
    )
    classifier = None
    if not isinstance(options.classifier, str):
        trained: Any = OmegaConf.to_container(configuration.compose(list(options.classifier), own), resolve=True)
        rules.check(configuration.build_experiment(trained))
        label = next((o.partition("=")[2] for o in options.classifier if o.startswith("+experiment=")), "classifier")
        classifier = (shared / f"classifier-{json_fingerprint(_relevant(trained), 8)}", trained, label)
    config = locations.absolute(config)  # after the digest: the same command names the same investigation in every folder
    planned = InvestigationPlan(options, config, name, command, folder, classifier)
    if not classifier and not planned.model.is_file():
        raise ConfigError(f"investigation.classifier={options.classifier}: no such .keras file, or run with a model in it.")
    experiment = configuration.build_experiment(config)
    if not isinstance(experiment.process, Gan) or experiment.arms:
        raise ConfigError("an investigation trains GANs in arms of its own: it needs process=gan, and no arms.")
    if experiment.stop.is_on:
        raise ConfigError("stop: an investigation compares two GANs after the same planned rounds: leave stop out.")
    rules.check(experiment)
    return planned


def investigate(plan: InvestigationPlan, on_line: OnLine) -> Verdict:
    """Runs the stages that are not finished; returns the verdict. `on_line` gets its lines. Raises `FedlabError`."""
    folder = plan.folder
    make_folder(folder.path)
    on_line(f"investigation in {relative(folder.path)}")
    if plan.classifier:
        path, config, name = plan.classifier
        _train(path, config, name, plan.command, on_line)
    if not folder.trial.is_file():
        folder.write(folder.trial, _filtered(plan))
    trial = folder.read(folder.trial)
    if trial.get("classifier") != file_fingerprint(plan.model):
        raise FedlabError(
            f"{relative(folder.path)} was begun with another classifier than {plan.model} is now: remove that folder, "
            "or give --out."
        )
    for line in trial["lines"]:
        on_line(line)
    arms = {arm: {"filter": plan.options.filter_spec(folder.filters[arm].absolute())} for arm in ARMS}
    config = {**plan.config, "arms": arms}
    if "classifier" in config["evaluation"] and config["evaluation"]["classifier"] is None:
        config["evaluation"] = {**config["evaluation"], "classifier": str(plan.model.absolute())}
    _train(folder.gans.path, config, plan.name, plan.command, on_line)
    return _concluded(plan, trial)


def _filtered(plan: InvestigationPlan) -> dict[str, Any]:
    """Tests the classifier on the users, with the bug in their data, and writes both filters."""
    options, folder, stages = plan.options, plan.folder, OmegaConf.create({s: plan.config[s] for s in STAGES})
    from fedlab.filter import Threshold

    tried = tried_subject(plan.model, stages)
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
    from fedlab.studies.investigate.plots import plot_accuracies

    measured = tried.measured
    plot_accuracies({"without the bug": measured.accuracies_clean, "with the bug": measured.accuracies}, folder.histogram)
    real = real_images(tried.population, configuration.build(stages, "corruption"), int(stages.seed))
    write_real(folder, real)
    return {
        "by": options.by,
        "bug": str(plan.config["corruption"]["_target_"]).rpartition(".")[2],
        "lines": lines,
        "classifier": tried.sha256,
        **described(measured, tried.population),
        "real": {name: shares(images) for name, images in real.items()},
        "config": {stage: plan.config[stage] for stage in STAGES},
    }


def _concluded(plan: InvestigationPlan, trial: dict[str, Any]) -> Verdict:
    """Writes the verdict, the picture of both grids, and the page; returns the verdict."""
    from fedlab.studies.investigate.page import write_investigation
    from fedlab.studies.investigate.plots import save_side_by_side

    folder, found = plan.folder, conclude(plan.folder, trial)
    save_side_by_side({**read_real(folder), **{arm: read_images(folder, arm) for arm in ARMS}}, folder.grids)
    folder.write_text(found.lines())
    folder.write(folder.verdict, {**found.as_json(), "command": plan.command})
    write_investigation(folder, plan.name)
    return found


def _train(path: pathlib.Path, config: dict[str, Any], name: str, command: str, on_line: OnLine) -> None:
    """Starts or continues the run in `path`, in a process of its own; does nothing if it has finished."""
    folder = JobFolder(path)
    if folder.status == "finished":
        on_line(f"{relative(path)}: finished before")
        return
    make_folder(path)
    folder.write(JobRecord(number=0, name=name, command=command, parameters={}, config=config))
    on_line(f"{relative(path)}: training; its output is in {relative(folder.log)}")
    try:
        with running(folder) as child:
            code = child.wait()
    except STOPS:  # the run has saved its state
        on_line("to continue, run the same command again")
        raise
    if code:
        raise FedlabError(f"{relative(path)}: {folder.last_line() or f'exit code {code}'}")


def _relevant(config: dict[str, Any]) -> dict[str, Any]:
    return deciding(config, ("num_rounds", "stop"))
