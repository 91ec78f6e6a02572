"""`fedlab train`: a Hydra application. TensorFlow is imported only once the whole configuration has been found valid.

What help and `--cfg job` have no use for is imported where it is used: they answer in half a second.
"""

from __future__ import annotations

import pathlib
import shlex
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from fedlab.cli import application, sweep_plan
from fedlab.cli import config as configuration
from fedlab.errors import FedlabError


def main(argv: list[str]) -> int:
    """Runs Hydra on `argv`; its errors become one line each."""
    quiet = bool({"-q", "--quiet"} & set(argv))
    overrides = [a for a in argv if a not in ("-q", "--quiet")]
    console = Console(quiet=quiet)
    resumed = next((o.partition("=")[2] for o in overrides if o.startswith("resume=")), None)
    if resumed is not None:
        from fedlab.cli.resume import resume

        others = [o for o in overrides if o != f"resume={resumed}"]
        _print_summary(console, resume(resumed, others, console, argv))
        return 0
    args = application.parsed(overrides)
    if args.help:
        from fedlab.cli import train_help

        print(train_help.page([o for o in overrides if o not in ("-h", "--help")]))
        return 0
    config = sweep_plan.composed(overrides, args)
    if config is not None:
        from fedlab.cli.sweep import sweep

        return sweep(config, args, overrides, console)
    errors: list[FedlabError] = []

    def task(cfg: DictConfig) -> None:
        try:
            _run(cfg, console, argv)
        except FedlabError as error:  # not through Hydra, which would print more
            errors.append(error)

    application.run(task, overrides, "hydra.run.dir")
    if errors:
        raise errors[0]
    return 0


def _run(cfg: DictConfig, console: Console, argv: list[str]) -> None:
    """One run: validates, claims a folder, trains."""
    from fedlab.archive.folder import RunFolder, relative
    from fedlab.cli.job import Job, say, start

    output, choices = pathlib.Path(HydraConfig.get().runtime.output_dir), HydraConfig.get().runtime.choices
    try:
        experiment = configuration.build_experiment(cfg)
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
        name = choices.get("experiment") or f"{choices['data']}/{choices['process']}"
        job = Job(experiment, plain, name, shlex.join(["fedlab", "train", *argv]))
        claimed: list[RunFolder] = []

        def claim() -> RunFolder:
            claimed.append(RunFolder.create(output))
            return claimed[0]

        summary = start(job, claim, console)
    finally:
        _remove_empty(output)  # Hydra made it; a run that never began leaves nothing behind
    _print_summary(console, summary)
    say(console, f"run folder: {relative(claimed[0].path)}")


def _print_summary(console: Console, summary: dict[str, Any]) -> None:
    from fedlab.cli.job import say

    for prefix in [name[: -len("test_accuracy")] for name in summary if name.rpartition("/")[2] == "test_accuracy"]:
        own = {name[len(prefix) :]: value for name, value in summary.items() if name.startswith(prefix)}
        line = f"[bold]test accuracy {own['test_accuracy']:.2%}[/bold]"
        if "test_loss" in own:
            line += f", loss {own['test_loss']:.4f}"
        if "client_accuracy_mean" in own:
            line += (
                f"; clients on their own examples: mean {own['client_accuracy_mean']:.2%}, "
                f"10th percentile {own['client_accuracy_p10']:.2%}, worst {own['client_accuracy_worst']:.2%}"
            )
        say(console, f"{prefix.rstrip('/')}: {line}" if prefix else line)
    for prefix in [name[: -len("polarity")] for name in summary if name.rpartition("/")[2] == "polarity"]:
        measures = {"frechet_features": "Fréchet distance", "classifier_score": "classifier score"}
        parts = [f"{words} {summary[prefix + name]:.2f}" for name, words in measures.items() if prefix + name in summary]
        parts.append(f"{summary[f'{prefix}polarity']:.1%} have a light background")
        line = f"generated images: {', '.join(parts)}"
        say(console, f"{prefix.rstrip('/')}: {line}" if prefix else line)
    if "difftest_told" in summary:
        say(console, f"difftest: {summary['difftest_told']}")
    if summary["non_finite_clients_total"]:
        left_out = f"{summary['non_finite_clients_total']} client updates held a NaN or an infinity and were left out"
        say(console, f"[yellow]{left_out}: lower client_optimizer.learning_rate[/yellow]")
    say(console, f"{summary['seconds_total']:.0f} s in all, {summary['seconds_per_round']:.4f} s per round (median)")


def _remove_empty(folder: pathlib.Path) -> None:
    """Removes `folder` and those of its parents that are empty."""
    for path in (folder, *folder.parents):
        try:
            path.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return
