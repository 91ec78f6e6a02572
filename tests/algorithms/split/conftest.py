"""Small cut models, on both sides of a channel."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.run.conftest import killed, npz, run_of  # noqa: F401


def header_bytes(*ranks):
    """The number of header bytes of a message whose arrays have these ranks."""
    return 3 + sum(2 + 4 * rank for rank in ranks)


@dataclasses.dataclass(frozen=True)
class Cut:
    """The parties of one cut model, and the model itself."""

    client: object
    server: object
    channel: object
    parts: list
    weights: list  # of the uncut model, initial, trainable first
    examples: object


@pytest.fixture(scope="session")
def cut_of(tensorflow):
    """A client and a server for a small model; `options` are those of `Split`."""
    from fedlab.algorithms.optimizers import Sgd
    from fedlab.algorithms.split import Split
    from fedlab.algorithms.split.channel import Channel
    from fedlab.algorithms.split.client import Client
    from fedlab.algorithms.split.computing import Head, Inner
    from fedlab.algorithms.split.parts import cut_model
    from fedlab.algorithms.split.server import Server
    from fedlab.models import Mlp, functional
    from fedlab.types import ExampleSet

    rng = np.random.default_rng(0)
    examples = ExampleSet(rng.integers(0, 256, (23, 4, 4, 1)).astype(np.uint8), rng.integers(0, 3, 23).astype(np.int32), 3)

    def build(model=None, optimizer=None, penalty=0.0, batch_size=5, **options):
        model, optimizer = model or Mlp(hidden=(8, 6)), optimizer or Sgd(learning_rate=0.1)
        tensorflow.keras.backend.reset_uids()  # so that layers are called dense, dense_1, …
        keras = functional.initial_keras_model(lambda: model((4, 4, 1), 3), 1)
        parts = cut_model(keras, Split(**options))
        weights = [w for ws in functional.keras_weights(keras) for w in ws]
        channel, u_shaped = Channel(), len(parts) == 3
        lower = Inner(parts[0], optimizer, np.uint8, penalty)
        client = Client(examples, lower, Head(parts[2], optimizer, examples.task) if u_shaped else None, channel, batch_size)
        server = Server(Inner(parts[1], optimizer) if u_shaped else Head(parts[1], optimizer, examples.task), channel)
        client.weights = [weights[p] for part in (parts[0], *parts[2:]) for p in part.positions]
        return Cut(client, server, channel, parts, weights, examples)

    return build
