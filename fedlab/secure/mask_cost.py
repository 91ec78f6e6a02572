"""The size of a round with masks, from the sizes of its messages, and the same measured by a round."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from fedlab.errors import ConfigError
from fedlab.secure import agreement, shamir
from fedlab.secure.encoding import Encoding
from fedlab.secure.layout import Layout, Tensor
from fedlab.secure.masked import Masked
from fedlab.secure.messages import AdvertiseKeys, Inbox, MaskedInput, Roster, ShareKeys, Survivors, Unmasking
from fedlab.secure.pairs import linked_by
from fedlab.secure.transcript import num_bytes

PLAIN_BITS = {8: np.int8, 16: np.int16, 32: np.float32}  # sizes of a value in the clear


@dataclasses.dataclass(frozen=True)
class MaskCost:
    """The bytes of a client in a round in which nobody vanishes, without framing.

    `neighbors_fraction`: neighbours of a client among the other clients. `expansion`: bytes up and down, divided by those of the
    values in the clear (Bonawitz et al. 2017, section 7). `measured_over_computed`: the bytes of a round that was run, divided by
    the computed ones; None if no round was run.
    """

    num_clients: int
    num_values: int
    plain_bits: int  # of a value in the clear
    neighbors: int
    neighbors_fraction: float
    bytes_masked_input: int
    bytes_up: int  # including the masked input
    bytes_down: int  # without the model
    expansion: float
    measured_over_computed: float | None = None

    def text(self) -> str:
        """Returns one line per figure."""
        lines = [
            f"neighbours    {self.neighbors:,} per client, {self.neighbors_fraction:.2%} of the others",
            f"upload        {self.bytes_up:,} bytes per client, of which {self.bytes_masked_input:,} are the masked values",
            f"download      {self.bytes_down:,} bytes per client: keys and shares",
            f"expansion     {self.expansion:.3f} times {self.num_values:,} values of {self.plain_bits} bits in the clear",
        ]
        if self.measured_over_computed is not None:
            lines.append(f"measured      {self.measured_over_computed:.6f} times the computed bytes, in a round")
        return "\n".join(lines)


def mask_cost(num_values: int, num_clients: int, plain_bits: int, spec: Masked, measure: bool = False) -> MaskCost:
    """Returns the cost of masked sums. `num_values`: at least 1; `num_clients`: at least 2.

    `plain_bits`: 32 for floats, 8 or 16 for integers. `measure`: run a round as well, in which all values are zeros. Raises
    `ConfigError` if the sum could overflow, if so many clients cannot form pairs, or if some have more neighbours than others.
    """
    layout = Layout((Tensor((num_values,), np.dtype(PLAIN_BITS[plain_bits])),))
    encoding = Encoding(layout, num_clients, spec.bits, spec.clip_range, spec.fractional_bits, spec.out_of_range, spec.rounding)
    spec.check(num_clients, always=True)
    degree, share_threshold = _links(spec, num_clients)
    up, down = _messages(degree, share_threshold)
    bytes_up, bytes_down = encoding.num_bytes + sum(map(num_bytes, up)), sum(map(num_bytes, down))
    cost = MaskCost(
        num_clients=num_clients,
        num_values=num_values,
        plain_bits=plain_bits,
        neighbors=degree,
        neighbors_fraction=degree / (num_clients - 1),
        bytes_masked_input=encoding.num_bytes,
        bytes_up=bytes_up,
        bytes_down=bytes_down,
        expansion=(bytes_up + bytes_down) / (num_values * plain_bits / 8),
    )
    if not measure:
        return cost
    zeros = [np.zeros(num_values, PLAIN_BITS[plain_bits])]
    ran = spec.build(layout, num_clients).run_round(1, range(num_clients), (zeros for _ in range(num_clients)))
    computed = num_clients * (bytes_up + bytes_down)
    return dataclasses.replace(cost, measured_over_computed=(ran.bytes_up + ran.bytes_down) / computed)


def _links(spec: Masked, num_clients: int) -> tuple[int, int]:
    """Returns the number of neighbours that every client has, and the number of shares that rebuild a secret."""
    pairs = spec.pairs(num_clients)
    if not pairs:
        return spec.links(num_clients)
    degrees = set(map(len, linked_by(pairs, range(num_clients)).values()))
    if len(degrees) > 1:
        raise ConfigError(
            f"secure.neighbors gives clients from {min(degrees)} to {max(degrees)} neighbours, and the cost is that of a client "
            "in a graph in which all have equally many: list as many pairs for each client."
        )
    return max(degrees), max(degrees) + 1


def _messages(degree: int, share_threshold: int) -> tuple[list[Any], list[Any]]:
    """Returns the messages from a client with `degree` neighbours, and those to it, with the sizes of real ones, without
    the masked values."""
    keys = AdvertiseKeys(bytes(agreement.KEY_BYTES), bytes(agreement.KEY_BYTES))
    ciphertext = agreement.encrypt(bytes(agreement.KEY_BYTES), bytes(2 * shamir.SHARE_BYTES))
    shares = {peer: ciphertext for peer in range(degree)}
    everybody = tuple(range(degree + 1))  # the neighbours and the client itself
    unmasking = Unmasking({peer: bytes(shamir.SHARE_BYTES) for peer in everybody}, {})
    up = [keys, ShareKeys(shares), MaskedInput(np.empty(0, np.uint8)), unmasking]
    down = [Roster({peer: keys for peer in range(degree)}, share_threshold), Inbox(shares), Survivors(everybody, ())]
    return up, down
