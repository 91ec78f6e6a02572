"""`fedlab privacy mask-cost`: computes the size of masked sums without training."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from fedlab.console.parsing import Parser, whole_number
from fedlab.errors import ConfigError

_EPILOG = """\
examples:
  fedlab privacy mask-cost --clients 1024 --values 1048576 --bits 16
  fedlab privacy mask-cost --clients 10000 --values 1663370 secure.neighbors=log"""


def parser() -> Parser:
    """Returns the parser."""
    made = Parser(
        "fedlab privacy mask-cost",
        description="Computes the bytes of a round with secure=masked in which nobody vanishes, from the sizes of its messages.",
        epilog=_EPILOG,
    )
    made.add_argument("--values", metavar="N", type=whole_number(1), required=True, help="numbers that a client sends")
    made.add_argument("--clients", metavar="K", type=whole_number(2), default=10, help="clients in a round (default: 10)")
    made.add_argument(
        "--bits", choices=["8", "16", "32"], default="32", help="size of a number in the clear; 32: floats, else integers"
    )
    made.add_argument("--measure", action="store_true", help="also run a round and count its bytes")
    made.add_argument("--json", action="store_true", help="print JSON")
    made.add_argument("overrides", nargs="*", default=[], metavar="OVERRIDE", help="secure.…, such as secure.neighbors=log")
    return made


def main(argv: Sequence[str]) -> int:
    """Prints sizes. Returns the exit code; raises `ConfigError`."""
    args = parser().parse(argv)
    for override in args.overrides:
        if not override.startswith("secure.") or "=" not in override:
            raise ConfigError(f"'{override}' does not change this cost: give secure.…, as key=value.")
    from fedlab.config.composing import build, compose

    spec = build(compose(["secure=masked", *args.overrides]), "secure")
    from fedlab.secure import mask_cost

    cost = mask_cost(args.values, args.clients, int(args.bits), spec, args.measure)
    print(json.dumps(dataclasses.asdict(cost), indent=2) if args.json else cost.text())
    return 0
