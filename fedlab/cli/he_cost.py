"""`fedlab privacy he-cost`: estimates the size and the time of encrypted sums without training."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedlab.console.parsing import Parser, whole_number
from fedlab.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_EPILOG = """\
examples:
  fedlab privacy he-cost --model cnn --clients 10
  fedlab privacy he-cost --values 1663370 --clients 100 secure.precision=1e-4 secure.encryption=public_key
  fedlab privacy he-cost --model mlp model.hidden=[200] data=mnist"""


def parser() -> Parser:
    """Returns the parser."""
    made = Parser(
        "fedlab privacy he-cost",
        description="Estimates the cost of a round with secure=ckks: makes, measures and multiplies one ciphertext.",
        epilog=_EPILOG,
    )
    made.add_argument("--values", metavar="N", type=whole_number(1), help="numbers that a client sends")
    made.add_argument("--model", metavar="NAME", help="instead: the weights of this model, for the images of data=NAME")
    made.add_argument("--clients", metavar="K", type=whole_number(1), default=10, help="clients in a round (default: 10)")
    made.add_argument("--json", action="store_true", help="print JSON")
    made.add_argument(
        "overrides", nargs="*", default=[], metavar="OVERRIDE", help="secure.…; with --model also model.… and data=NAME"
    )
    return made


def main(argv: Sequence[str]) -> int:
    """Prints sizes, precision and seconds. Returns the exit code; raises `ConfigError`."""
    args = parser().parse(argv)
    if (args.values is None) == (args.model is None):
        raise ConfigError("give either --values or --model, for the number of values. See fedlab privacy he-cost --help.")
    _check(args.overrides, ("secure.", "model.", "data.", "data=") if args.model else ("secure.",))
    from fedlab.config.composing import build, compose

    config = compose(["secure=ckks", *([f"model={args.model}"] if args.model else []), *args.overrides])
    spec = build(config, "secure")
    from fedlab.secure import he_cost

    cost = he_cost(args.values or _num_weights(config), args.clients, spec)
    print(json.dumps(dataclasses.asdict(cost), indent=2) if args.json else cost.text())
    return 0


def _check(overrides: Sequence[str], allowed: Sequence[str]) -> None:
    """Raises `ConfigError` for an override without effect."""
    for override in overrides:
        if not override.startswith(tuple(allowed)) or "=" not in override:
            takes = ", ".join(f"{a}…" if a.endswith(".") else f"{a}NAME" for a in allowed)
            raise ConfigError(f"'{override}' does not change this cost: give {takes}, as key=value.")


def _num_weights(config: DictConfig) -> int:
    """Builds the model and returns its number of weights."""
    from fedlab.config.composing import build

    model, source = build(config, "model"), build(config, "data")
    train = source.load(0).train
    from fedlab.run.start import start_tensorflow

    start_tensorflow("cpu", 1)
    return model(train.x.shape[1:], train.task.num_outputs).count_params()
