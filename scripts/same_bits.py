#!/usr/bin/env python3
"""Whether two checkouts of fedlab train to the same bits: every shipped experiment, and the stages that none of them uses.

    git worktree add ../before COMMIT
    python scripts/same_bits.py ../before                    # all of it: half an hour on two cores
    python scripts/same_bits.py ../before --only 'split/*'

Each case trains a few rounds on the digits in both checkouts, which share this Python's packages. Their weights' hashes are
compared round by round, and so is all that is no time in metrics.jsonl and summary.json. Noise is drawn from the seed, so that it
can be compared, too. Runs whose manifest says that equal seeds need not give equal bits (CKKS, TFF's runtime) are held to
`TOLERANCE` instead. A figure that only the new checkout writes is named and is no difference; one that it has lost is one. A case
that the old checkout cannot compose is counted as new. Prints a table in Markdown; exits with 1 where a case differs or does not
run.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import fnmatch
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOLERANCE = 0.02  # of figures that are shares; relative of others
_USERS = ["partition=iid", "partition.num_clients=20"]  # the digits do not say who wrote them
ON_DIGITS = {
    **dict.fromkeys(("mnist/by_writer", "heart/fedavg", "heart/local"), _USERS),
    **dict.fromkeys(
        ("synthetic/fedavg", "synthetic/feddyn", "synthetic/fednova", "synthetic/fedprox", "synthetic/scaffold"), _USERS
    ),
    # Digits are no text, and have no users with few examples
    **{key: [*_USERS, "~partition.min_examples", "model=mlp"] for key in ("shakespeare/fedavg", "shakespeare/fedadam")},
    **{key: ["partition.num_clients=40"] for key in ("async/fedavg", "async/fedbuff")},
    **{key: ["partition.num_clients=20"] for key in ("cifar10/fedavg_dirichlet", "cifar10/scaffold")},
    "mnist/dp_fedavg": ["partition.num_clients=200"],
    "mnist/dp_adaptive": ["partition.num_clients=200"],
    "mnist/dp_ftrl": ["partition.num_clients=200"],
    "gan/small": _USERS,
    "gan/dp": _USERS,
    "gan/published": [*_USERS, "client.max_local_steps=1", "process.generator_steps=1"],
}
_NORMALIZED = ["model=resnet20", "model.blocks=[1]", "model.filters=[4]"]
SMALL = ["model.hidden=[16]", "partition.num_clients=12", "cohort.clients_per_round=6"]
# What no experiment has, on the default configuration
VARIANTS = {
    "local_only": [*SMALL, "process=local_only"],
    "fed_sgd": [*SMALL, "process=fed_sgd"],
    "scaffold": [*SMALL, "process=scaffold"],
    "fed_rep": [*SMALL, "process=fed_rep"],
    "fed_per": [*SMALL, "process=fed_per"],
    **{name: [*SMALL, f"process={name}"] for name in ("fed_nova", "fed_dyn", "fed_exp", "q_fed_avg", "mime_lite")},
    "fed_bn": ["partition.num_clients=12", "cohort.clients_per_round=6", "process=fed_bn", *_NORMALIZED],
    "fed_buff": ["model.hidden=[16]", "partition.num_clients=12", "cohort=buffered", "process=fed_buff", "clock=half_normal"],
    "ditto": [*SMALL, "process=ditto"],
    "apfl": [*SMALL, "process=apfl", "process.adaptive=true"],
    "fine_tune": [*SMALL, "process=fine_tune"],
    "ifca": [*SMALL, "process=ifca"],
    "p_fed_me": [*SMALL, "process=p_fed_me"],
    "scaffold_tff": [*SMALL, "process=scaffold", "engine=tff"],
    "engine_tff": [*SMALL, "engine=tff"],
    "dropout_layers": [*SMALL, "model.dropout=0.3"],
    "cohort_poisson": ["model.hidden=[16]", "partition.num_clients=12", "cohort=poisson"],
    "schedule_cosine": [*SMALL, "client_schedule=cosine", "client_schedule.decay_rounds=3"],
    "held_out": [*SMALL, "evaluation.holdout=0.2"],
    "corrupted": [*SMALL, "corruption=label_flip", "corruption.fraction=0.5"],
    "masked_observed": [*SMALL, "secure=masked", "secure.observe=all", "secure.dropout_rate=0.1"],
    "masked_private": [*SMALL, "secure=masked", "privacy=gaussian_fixed"],
    "tree": [*SMALL, "cohort=in_turn", "privacy=tree"],
    **{f"optimizer_{name}": [*SMALL, f"server_optimizer={name}"] for name in ("adam", "yogi", "adagrad")},
    **{
        f"aggregator_{name}": [*SMALL, f"aggregator={name}"]
        for name in ("compressed", "coordinate_median", "krum", "multi_krum", "robust", "secure", "trimmed_mean")
    },
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One run, by its overrides."""

    name: str
    overrides: list[str]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of a run; `error`: the last line of its output if it failed."""

    records: list[dict[str, Any]]
    summary: dict[str, Any]
    reproducible: bool
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A case in both checkouts; `before` is None where the old one cannot compose it."""

    case: Case
    before: Outcome | None
    after: Outcome

    @property
    def verdict(self) -> str:
        """`same`, `within TOLERANCE` or `new`, perhaps with a comment; otherwise the differences."""
        if self.before is None:
            return self.after.error or "new"
        found = differences(self.before, self.after)
        if found:
            return "; ".join([*found[:3], *([f"and {len(found) - 3} more"] if len(found) > 3 else [])])
        more = added(self.before, self.after)
        kind = "same" if self.after.reproducible else f"within {TOLERANCE}"
        return kind + (f" (new figures: {', '.join(more)})" if more else "")

    @property
    def outcome(self) -> str:
        """How it counts: same, different or new."""
        if self.before is None:
            return "different" if self.after.error else "new"
        return "different" if differences(self.before, self.after) else "same"


def cases() -> list[Case]:
    """All of them, experiments first."""
    conf = ROOT / "conf" / "experiment"
    names = [str(path.relative_to(conf).with_suffix("")) for path in sorted(conf.rglob("*.yaml"))]
    found = []
    for name in names:
        changes, text = ON_DIGITS.get(name, []), (conf / f"{name}.yaml").read_text()
        if "MULTIRUN" in text:
            changes = [*changes, "hydra.mode=RUN"]
        if f"fedlab investigate +experiment={name}" in text:
            continue  # of several runs, each of which is like gan/small
        found.append(Case(name, [f"+experiment={name}", "data=digits", *changes]))
    return [*found, *(Case(name, overrides) for name, overrides in VARIANTS.items())]


def fedlab(checkout: pathlib.Path, folder: pathlib.Path, *args: str) -> subprocess.CompletedProcess:
    """Runs a command of `checkout` in `folder`, on this Python's packages."""
    return subprocess.run(
        [sys.executable, "-m", "fedlab.cli.main", *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
    )


def from_seed(checkout: pathlib.Path, folder: pathlib.Path, case: Case) -> list[str] | None:
    """The overrides by which all noise of `case` follows from the seed; None where `checkout` has no such configuration."""
    done = fedlab(checkout, folder, "train", "--cfg", "job", *case.overrides)
    if done.returncode != 0:
        return None
    return [f"{path}=seed" for path in paths_of("noise_source", yaml.safe_load(done.stdout))]


def paths_of(key: str, node: Any, path: str = "") -> Iterator[str]:
    """The dotted path of every `key` in a configuration."""
    for name, value in node.items() if isinstance(node, Mapping) else ():
        here = f"{path}.{name}" if path else name
        if name == key:
            yield here
        yield from paths_of(key, value, here)


def train(checkout: pathlib.Path, folder: pathlib.Path, overrides: Sequence[str]) -> Outcome:
    """Trains in `folder`, which is made."""
    folder.mkdir(parents=True)
    done = fedlab(checkout, folder, "train", "--quiet", *overrides, "hydra.run.dir=run")
    run = folder / "run"
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        return Outcome([], {}, True, lines[-1] if lines else f"exit code {done.returncode}")
    return Outcome(
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()],
        json.loads((run / "summary.json").read_text()),
        json.loads((run / "manifest.json").read_text())["reproducible"],
    )


def differences(before: Outcome, after: Outcome) -> list[str]:
    """Returns the differences between two outcomes."""
    if before.error or after.error:
        return [f"before: {before.error or 'ran'}", f"after: {after.error or 'ran'}"]
    exact = before.reproducible and after.reproducible
    found = [] if before.reproducible == after.reproducible else ["one says that it is reproducible, the other does not"]
    if len(before.records) != len(after.records):
        return [*found, f"{len(before.records)} rounds, {len(after.records)} rounds"]
    for old, new in [*zip(before.records, after.records), (before.summary, after.summary)]:
        place = f"round {old['round']}" if "round" in old else "summary"
        for name in sorted(old):
            if "seconds" in name or (name.endswith("weights_hash") and not exact):
                continue
            if not same(old.get(name), new.get(name), exact):
                found.append(f"{place}, {name}: {old.get(name)} | {new.get(name)}")
    return found


def added(before: Outcome, after: Outcome) -> list[str]:
    """The names of the figures that only `after` has."""
    pairs = [*zip(before.records, after.records), (before.summary, after.summary)]
    return sorted({name for old, new in pairs for name in set(new) - set(old)})


def same(a: Any, b: Any, exact: bool) -> bool:
    """Equal, NaN to NaN; numbers that need not be exact within `TOLERANCE`."""
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or a == b or (not exact and abs(a - b) <= TOLERANCE * max(1.0, abs(a)))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y, exact) for x, y in zip(a, b))
    return a == b


def compare(old: pathlib.Path, case: Case, rounds: int, work: pathlib.Path) -> Comparison:
    """Trains `case` in both checkouts; only in the new one where the old one has no such configuration."""
    folder = work / case.name
    folder.mkdir(parents=True)
    seeded = from_seed(old, folder, case)
    overrides = [*case.overrides, *(seeded or from_seed(ROOT, folder, case) or []), f"num_rounds={rounds}"]
    after = train(ROOT, folder / "after", overrides)
    return Comparison(case, None if seeded is None else train(old, folder / "before", overrides), after)


def main(argv: Sequence[str]) -> int:
    """Prints the table; 0 where every case that was asked for is the same."""
    parser = argparse.ArgumentParser(
        prog="same_bits.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=pathlib.Path, metavar="OLD_CHECKOUT")
    parser.add_argument("--only", action="append", metavar="GLOB", help="cases by name, e.g. 'split/*'; may be repeated")
    parser.add_argument("--rounds", type=int, default=2, help="of every case (2)")
    parser.add_argument("--jobs", type=int, default=1, help="cases side by side (1)")
    options = parser.parse_args(argv)
    old = options.old.resolve()
    if not (old / "fedlab").is_dir() or not (old / "conf").is_dir():
        print(f"same_bits: {options.old} is no checkout of fedlab: it has no fedlab/ and conf/.", file=sys.stderr)
        return 2
    chosen = [case for case in cases() if not options.only or any(fnmatch.fnmatch(case.name, p) for p in options.only)]
    if not chosen:
        print(f"same_bits: no case is called {' or '.join(options.only)}: {', '.join(c.name for c in cases())}", file=sys.stderr)
        return 2
    print("| case | rounds | last hash | verdict |\n|---|---|---|---|", flush=True)
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as work, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for done in pool.map(lambda case: compare(old, case, options.rounds, pathlib.Path(work)), chosen):
            counts[done.outcome] += 1
            digest = done.after.summary.get("weights_hash", "")
            print(f"| {done.case.name} | {len(done.after.records)} | {digest} | {done.verdict} |", flush=True)
    print(f"\nOf {len(chosen)} cases {counts['same']} are the same, {counts['different']} differ, {counts['new']} are new.")
    return 1 if counts["different"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
