"""`fedlab privacy he-cost`: what encrypted sums would weigh and take, before anything is trained."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence

from omegaconf import DictConfig

from fedlab.cli.config import build, compose
from fedlab.cli.parsing import Parser
from fedlab.errors import ConfigError

EPILOG = """\
examples:
  fedlab privacy he-cost --model cnn --clients 10
  fedlab privacy he-cost --values 1663370 --clients 100 secure.precision=1e-4 secure.encryption=public_key
  fedlab privacy he-cost --model mlp model.hidden=[200] data=mnist"""


def main(argv: Sequence[str]) -> int:
    """Prints sizes, precision and seconds. Returns the exit code; raises `ConfigError`."""
    args = _parse(argv)
    config = compose(["secure=ckks", *([f"model={args.model}"] if args.model else []), *args.overrides])
    spec = build(config, "secure")
    from fedlab.secure import he_cost

    cost = he_cost(args.values or _num_weights(config), args.clients, spec)
    if args.json:
        print(json.dumps(dataclasses.asdict(cost), indent=2))
    else:
        print(cost.text())
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "fedlab privacy he-cost",
        description="What secure=ckks would cost a round: a ciphertext is made, measured and multiplied.",
        epilog=EPILOG,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--values", metavar="N", type=_count, help="numbers that a client sends")
    parser.add_argument("--model", metavar="NAME", help="instead: the weights of this model, for the images of data=NAME")
    parser.add_argument("--clients", metavar="K", type=_count, default=10, help="clients in a round (default 10)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="secure.…; with --model also model.… and data=NAME")
    args = parser.parse(argv)
    if (args.values is None) == (args.model is None):
        raise ConfigError("how many numbers? Give either --values or --model. See fedlab privacy he-cost --help.")
    _check(args.overrides, ("secure.", "model.", "data.", "data=") if args.model else ("secure.",))
    return args


def _count(text: str) -> int:
    number: int | None = int(text.replace("_", "")) if text.replace("_", "").isdecimal() else None
    if not number:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return number


def _check(overrides: Sequence[str], allowed: Sequence[str]) -> None:
    """Refuses what would have no effect."""
    for override in overrides:
        if not override.startswith(tuple(allowed)) or "=" not in override:
            takes = ", ".join(f"{a}…" if a.endswith(".") else f"{a}NAME" for a in allowed)
            raise ConfigError(f"'{override}' changes nothing of this cost: it takes {takes} here, as key=value.")


def _num_weights(config: DictConfig) -> int:
    """How many numbers the model has; builds it."""
    model, source = build(config, "model"), build(config, "data")
    train = source.load(0).train
    from fedlab.run.start import start_tensorflow

    start_tensorflow("cpu", 1)
    return model(train.x.shape[1:], train.num_classes).count_params()
