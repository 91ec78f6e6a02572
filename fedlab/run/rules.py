"""Rules for the stages of an experiment: a list of small functions, checked before any data is read."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fedlab import registry
from fedlab.algorithms.base import needs_protocol
from fedlab.archive.figures import ranked_metric
from fedlab.archive.task import Learned, described
from fedlab.clock import NoClock
from fedlab.cohort import Buffered
from fedlab.errors import ConfigError
from fedlab.models import Adversaries
from fedlab.partition import holds_nothing_out, num_held_out
from fedlab.run.best_round import Keep
from fedlab.run.early_stop import EarlyStop
from fedlab.run.experiment import COMMON_TO_ARMS, Experiment, is_private, of_arm, task_of
from fedlab.run.promises import check_privacy
from fedlab.secure import Plain
from fedlab.spec import Spec, states
from fedlab.tasks import Task
from fedlab.types import Dataset

Rule = Callable[[Experiment], None]  # raises `ConfigError` in one line


def check(experiment: Experiment) -> None:
    """Raises `ConfigError` for stages that cannot work together, of the run or of an arm. Also applies the studies' rules."""
    for rule in registry.hooks("check"):
        rule(experiment)
    ended_early(experiment)
    _check_known_tasks(experiment)
    _check_own(experiment)


def _check_known_tasks(experiment: Experiment) -> None:
    """Checks targets and conditions of metrics where the algorithm, of the run or of an arm, tells the task before the data."""
    for name, one in experiment.arms.items() or [("", experiment)]:
        if one.process.task is not None:
            with of_arm(name) if name else contextlib.nullcontext():
                one.loss.check(one.process.task)
                check_metrics(one, one.process.task, name)


def _check_own(experiment: Experiment) -> None:
    """Applies the rules to a whole run, or to one of its arms."""
    for rule in OF_DATA:
        rule(experiment)
    for rule in () if experiment.arms else (*OF_TRAINING, *registry.hooks("check_training")):
        rule(experiment)
    for name, arm in experiment.arms.items():
        an_arm(experiment, name, arm)
        with of_arm(name):
            _check_own(arm)


def an_arm(experiment: Experiment, name: str, arm: Experiment) -> None:
    """Checks that an arm has a valid name, that there is another arm, and that it overrides no option common to all arms."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ConfigError(f"arms.{name}: the name of an arm must consist of letters, digits, - and _.")
    if len(experiment.arms) < 2:
        raise ConfigError(f"arms has only {name}: give at least two arms, or none.")
    for option in COMMON_TO_ARMS:
        if getattr(arm, option) != getattr(experiment, option):
            raise ConfigError(f"arms.{name}.{option}: all arms have the same {option}: set it outside of arms.")
    if arm.engine.device != experiment.engine.device:
        raise ConfigError(f"arms.{name}.engine.device: all arms compute on the same device: set it outside of arms.")


def ended_early(experiment: Experiment) -> None:
    """Checks that a condition for ending early can be met before the last round, and reveals nothing that ε does not cover."""
    stop = experiment.stop
    for option, metric in stop.metrics.items():
        arm = (metric or "").rpartition("/")[0]
        if experiment.arms and arm not in experiment.arms:
            first = next(iter(experiment.arms))
            raise ConfigError(
                f"stop.{option}={metric or 'null'}: name the arm whose metric counts, such as {first}/test_accuracy."
            )
        if arm and not experiment.arms:
            raise ConfigError(f"stop.{option} names arm '{arm}', and this run has no arms: leave it out.")
        for name in (name for name, one in experiment.arms.items() if name != arm and is_private(one)):
            raise ConfigError(
                f"stop.{option}={metric}: arm {name} would end by the metric of arm {arm}, whose training its ε does not cover, "
                f"and the number of rounds would reveal it: leave stop out, or train {name} in a run of its own."
            )
    if not stop.is_on:
        return
    if experiment.eval_every >= experiment.num_rounds:
        raise ConfigError(
            f"stop: with eval_every={experiment.eval_every} and num_rounds={experiment.num_rounds}, only the last round is "
            "evaluated, and the run cannot end earlier: lower eval_every."
        )
    earlier = (experiment.num_rounds - 1) // experiment.eval_every
    if stop.patience is not None and earlier <= stop.patience:
        raise ConfigError(
            f"stop.patience={stop.patience}: only {earlier} evaluations precede the last round, and a run ends earlier after "
            f"{stop.patience + 1} at the soonest: lower stop.patience."
        )
    for one in experiment.arms.values() or [experiment]:
        if is_private(one) and (one.process.personal or one.process.keeps):
            raise ConfigError(
                f"stop: the test metrics of process {type(one.process).__name__} follow from what clients keep, which ε does not "
                "cover, and the number of rounds would reveal it: leave stop out, or choose another process."
            )
        if one.secure.observe not in ("none", "all", ()):
            raise ConfigError(
                f"stop: the run may end before a round of secure.observe={one.secure.observe}: use secure.observe=all."
            )


def users_are_known(experiment: Experiment) -> None:
    """Checks that a partition by user has data with user ids."""
    if experiment.partition.needs_user_ids and not experiment.data.has_user_ids:
        raise ConfigError(
            f"this partition divides by user, but data {experiment.data.name} has no user ids: "
            "use data=mnist_by_writer, data=emnist, data=femnist or an npz with user_ids, or another partition."
        )


def enough_examples(experiment: Experiment) -> None:
    """Checks that there are at least as many examples as clients."""
    num_clients, num_examples = experiment.partition.known_num_clients, experiment.data.num_train_examples
    if num_clients is not None and num_examples is not None and num_clients > num_examples:
        raise ConfigError(
            f"partition.num_clients is {num_clients:,}, but data {experiment.data.name} has {num_examples:,} training examples: "
            "lower partition.num_clients."
        )


def something_is_held_out(experiment: Experiment) -> None:
    """Checks that at least one client holds out at least one example."""
    num_examples, share = experiment.data.num_train_examples, experiment.evaluation.holdout
    if num_examples is not None and share:
        largest = experiment.partition.largest_client(num_examples)
        if not num_held_out(share, largest):
            raise ConfigError(holds_nothing_out(share, largest))


def a_clean_part_exists(experiment: Experiment) -> None:
    """Checks that clients hold out examples if a corruption leaves those as they are."""
    if not experiment.corruption.held_out and not experiment.evaluation.holdout:
        raise ConfigError(
            "corruption.held_out=false is about the examples that clients hold out from training, and they hold out none: set "
            "evaluation.holdout=0.3, or leave it out."
        )


def filtered(experiment: Experiment) -> None:
    """Checks the file of a filter."""
    experiment.filter.check()


def sums_can_be_made(experiment: Experiment) -> None:
    """Checks that the engine and the aggregator work with the secure-sum protocol."""
    protected = type(experiment.secure) is not Plain
    if needs_protocol(experiment) and not experiment.engine.runs_protocols:
        if experiment.aggregator.marks_sums:
            raise ConfigError(
                "this aggregator marks sums as secure, and TFF's own runtime cannot compute marked sums: use engine=compiled, or "
                "aggregator=robust."
            )
        option = "secure.observe" if experiment.secure.observe != "none" else "secure.dropout_rate"
        raise ConfigError(
            f"{f'secure={experiment.secure.name}' if protected else option} needs engine=compiled: TFF's own runtime sums "
            "unprotected updates and records nothing."
        )
    if protected and experiment.aggregator.needs_individual_updates:
        raise ConfigError(
            f"secure={experiment.secure.name} gives the server only a sum, but this aggregator compares individual updates: "
            "use aggregator=mean, robust or secure, or secure=plain."
        )


def client_models_are_seen(experiment: Experiment) -> None:
    """Checks that the server receives and records the models of clients that `evaluation.client_every` measures."""
    every, secure = experiment.evaluation.client_every, experiment.secure
    if every is None:
        return
    option = f"evaluation.client_every={every}"
    if type(secure) is not Plain:
        raise ConfigError(
            f"{option}: secure={secure.name} hides the clients' models from the server, so it cannot measure them: use "
            "secure=plain, or leave it out."
        )
    process = experiment.process
    if not (states(process, "sends_models") and process.sends_models):
        raise ConfigError(
            f"{option} needs clients that send a trained model and nothing else, and those of process {type(process).__name__} "
            "do not: use process=fed_avg or fed_prox, or leave it out."
        )
    aggregator = experiment.aggregator
    if not (states(aggregator, "sends_updates") and aggregator.sends_updates):
        raise ConfigError(
            f"{option} needs updates that the server can read one by one, and aggregator {type(aggregator).__name__} gets none: "
            "use aggregator=mean or robust, or leave it out."
        )
    measured = range(every, experiment.num_rounds + 1, every)
    if not measured:
        raise ConfigError(f"{option} measures no round: a run of {experiment.num_rounds:,} rounds needs a smaller number.")
    if not all(secure.observes(number, experiment.num_rounds) for number in measured):
        raise ConfigError(
            f"{option} reads the record of what the server received: set secure.observe=all, or a list with the rounds "
            f"{', '.join(map(str, measured[:3]))}{', …' if len(measured) > 3 else ''}."
        )


def model_of_the_algorithm(experiment: Experiment) -> None:
    """Checks that the algorithm trains models of this kind."""
    own = experiment.process.task
    check_model(own is not None and own.trains_adversaries, experiment.model)


def check_model(adversaries: bool, model: object) -> None:
    """Raises `ConfigError` unless `model` is a pair of networks exactly if `adversaries` is true."""
    if adversaries and not isinstance(model, Adversaries):
        raise ConfigError(
            "process=gan trains a generator against a discriminator: use model=gan_small, model=gan_published, or your own "
            "subclass of fedlab.models.Adversaries."
        )
    if not adversaries and isinstance(model, Adversaries):
        raise ConfigError(
            "this model is a pair of networks, a generator and a discriminator: use process=gan, or a classifier (model=mlp)."
        )


def initial_model(experiment: Experiment) -> None:
    """Checks the file of the initial weights, and that the algorithm starts from them."""
    init, process = experiment.init, experiment.process
    if init.is_on and process.why_no_init:
        option = "init.freeze" if init.source is None else "init.from"
        raise ConfigError(f"{option}: {process.why_no_init}")
    init.check()


def best_model(experiment: Experiment) -> None:
    """Checks that the algorithm has a single model that can be the best."""
    best, process = experiment.keep.best, experiment.process
    if best is not None and process.personal:
        raise ConfigError(
            f"keep.best={best} saves the best global model, and process {type(process).__name__} ends with a model for each "
            "client: leave it out, or use another process."
        )
    if best is not None and is_private(experiment) and process.keeps:
        raise ConfigError(
            f"keep.best={best}: the test metrics of process {type(process).__name__} follow from what clients keep, which ε does "
            "not cover, and the choice of the round would reveal it: leave it out, or choose another process."
        )


def timed(experiment: Experiment) -> None:
    """Checks the file of a clock, that the rounds have a duration, and that asynchronous cohorts meet an asynchronous server."""
    experiment.clock.check()
    process, name = experiment.process, type(experiment.process).__name__
    has_clock, buffered = type(experiment.clock) is not NoClock, isinstance(experiment.cohort, Buffered)
    if has_clock and not process.waits:
        raise ConfigError(
            f"clock: in the rounds of process {name} no server waits for several clients at once, so the slowest client does not "
            "tell their duration: use clock=none."
        )
    if process.buffers and not buffered:
        raise ConfigError(
            f"process {name} takes updates as they arrive: use cohort=buffered, and clients' speeds such as clock=half_normal."
        )
    if buffered and not process.buffers:
        raise ConfigError(
            f"cohort=buffered collects updates of different versions of the model, and process {name} needs those of one: "
            "use process=fed_buff, or cohort=uniform."
        )
    if buffered and not has_clock:
        raise ConfigError(
            "cohort=buffered needs the clients' speeds: use clock=half_normal, log_normal, uniform, constant or trace."
        )


def evaluated(experiment: Experiment) -> None:
    """Checks that the files for evaluating generated images exist."""
    experiment.evaluation.check()


def stages_of_the_algorithm(experiment: Experiment) -> None:
    """Applies the algorithm's own rules for the other stages."""
    experiment.process.check(experiment)


def loss_is_covered(experiment: Experiment) -> None:
    """Checks that the loss computes nothing from clients' targets if ε is claimed."""
    if experiment.loss.statistics and is_private(experiment):
        raise ConfigError(
            f"loss: {type(experiment.loss).__name__} computes {experiment.loss.statistics} over all clients, which ε does not "
            "cover: give weights that do not follow from the private data, such as loss.class_weights={0: 1, 1: 3}, or none."
        )


def enough_clients(experiment: Experiment) -> None:
    """Checks the number of clients if it is known before the data."""
    check_clients(experiment, experiment.partition.known_num_trained)


def check_clients(experiment: Experiment, num_clients: int | None) -> None:
    """Raises `ConfigError` for too few clients. Called again once the data is partitioned. None: the number is unknown."""
    if num_clients is None:
        return
    experiment.cohort.check(num_clients)
    most = experiment.cohort.most_clients(num_clients)
    experiment.aggregator.check(most)
    experiment.secure.check(most, always=experiment.cohort.are_equal)


def check_task(experiment: Experiment, dataset: Dataset, arm: str = "") -> None:
    """Raises `ConfigError` for stages that need classes if the task of the data has none, and for targets that no run can reach.

    Called once the data is known, for the run and for each of its arms, with their names.
    """
    if not experiment.arms:
        check_metrics(experiment, task_of(experiment, dataset), arm)
    check_classes({stage: getattr(experiment, stage) for stage in type(experiment).model_fields}, dataset)


def check_classes(stages: Mapping[str, Any], dataset: Dataset) -> None:
    """Raises `ConfigError` for the first of `stages` that needs classes if the task of the data has none."""
    task = dataset.train.task
    if task.num_classes is not None:
        return
    for stage, options in stages.items():
        if isinstance(options, Spec) and options.needs_classes:
            raise ConfigError(
                f"{stage}: {type(options).__name__} needs data with classes, and the task of data {dataset.name} is "
                f"{task.name}: choose another {stage}, or data with classes."
            )


def check_metrics(experiment: Experiment, task: Task, arm: str = "") -> None:
    """Applies `check_targets`, `check_stop` and `check_best` to a run without arms, or to the arm of this name."""
    check_targets("evaluation.rounds_to={:g}", experiment.evaluation.rounds_to, described(task.described()))
    check_stop(experiment.stop, task, arm)
    check_best(experiment.keep, task)
    if not experiment.process.personal:
        check_global_metrics(experiment, lambda metric: metric.rpartition("/")[0] != arm)


def check_global_metrics(experiment: Experiment, is_measured: Callable[[str], bool]) -> None:
    """Raises `ConfigError` if a condition is about a global model next to clients' own ones, and there is none."""
    for option, metric in experiment.stop.metrics.items():
        of, _, name = (metric or "").rpartition("/")
        if metric and name.startswith("global_") and not is_measured(metric):
            process = type(experiment.arms.get(of, experiment).process).__name__
            raise ConfigError(
                f"stop.{option}: {name} is the metric of a global model next to the clients' own models, and process {process} "
                f"has no such model: use {metric.replace('global_', '', 1)}."
            )


def check_targets(option: str, targets: Iterable[float], task: Learned) -> None:
    """Raises `ConfigError` for a target of rounds_to if the task has no metric of the test set, or if it cannot have this value.

    `option`: the option that has the target, with {:g} for it.
    """
    headline = task.headline or "loss"
    for target in targets:
        if headline not in task.metrics:
            raise ConfigError(f"{option.format(target)}: the task {task.name} has no metric of the test set: leave it out.")
        if task.metrics[headline].percent and not 0 <= target <= 1:
            raise ConfigError(f"{option.format(target)}: test_{headline} is a fraction from 0 to 1, such as 0.97 for 97 %.")


def check_stop(stop: EarlyStop, task: Task, arm: str = "") -> None:
    """Raises `ConfigError` if a condition on a metric of `arm` names one that the task lacks, or a value that it cannot have."""
    condition, learned = stop.condition, described(task.described())
    for option, given in stop.metrics.items():
        of, _, name = (given or ranked_metric(learned)).rpartition("/")
        if of != arm:
            continue
        metric = learned.metrics.get(name.removeprefix("global_").removeprefix("test_"))
        if metric is None:
            known = ", ".join(f"test_{known}" for known in learned.metrics) or "none"
            raise ConfigError(f"stop.{option}: no metric {name} on the test set. The task {task.name} has: {known}.")
        if option == "when" and condition and metric.percent and not 0 <= condition.value <= 1:
            raise ConfigError(f"stop.when={stop.when}: {name} is a fraction from 0 to 1, such as 0.97 for 97 %.")


def check_best(keep: Keep, task: Task) -> None:
    """Raises `ConfigError` if `keep.best` names a metric that the task lacks."""
    learned = described(task.described())
    if keep.best is not None and keep.best.removeprefix("test_") not in learned.metrics:
        known = ", ".join(f"test_{name}" for name in learned.metrics) or "none"
        raise ConfigError(f"keep.best: no metric {keep.best} on the test set. The task {task.name} has: {known}.")


OF_DATA: tuple[Rule, ...] = (users_are_known, enough_examples, something_is_held_out, a_clean_part_exists, filtered)
OF_TRAINING: tuple[Rule, ...] = (  # for a run without arms, or an arm
    sums_can_be_made,
    client_models_are_seen,
    model_of_the_algorithm,
    initial_model,
    best_model,
    timed,
    evaluated,
    stages_of_the_algorithm,
    loss_is_covered,
    enough_clients,
    check_privacy,
)
