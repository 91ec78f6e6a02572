"""Small GANs, built as a run builds them, and the same training written out step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedlab.algorithms import Gan, LocalTraining, Parts
from fedlab.algorithms.optimizers import Sgd
from fedlab.engine import Compiled
from fedlab.models import Gan as Networks

SMALL = dict(
    noise_dimension=5, generator_hidden=(), generator_filters=(4, 3), discriminator_filters=(4,), discriminator_hidden=()
)
NETWORKS = Networks(**SMALL, discriminator_normalization="none")
SHAPE = (4, 4, 1)
USUAL = Gan()


class GanLab:
    """Processes over the random examples of `lab`, images of 4×4 pixels."""

    _models: dict = {}  # by their networks: pure functions, tried out in graphs of their own when built
    _usual: list = []  # the engine without options: building one takes seconds, and it keeps nothing from run to run

    def __init__(self, lab: Any):
        self.examples, self.sizes = lab.examples(shape=SHAPE), lab.sizes

    def model(self, networks: Networks = NETWORKS) -> Any:
        from fedlab.models.adversarial import gan_model

        return gan_model(networks, SHAPE, 3)

    def process(self, options: Gan = USUAL, networks: Networks = NETWORKS, examples: Any = None, **parts: Any) -> Any:
        from fedlab.algorithms.client_work import ExampleSpec

        spec = ExampleSpec.of(self.examples if examples is None else examples)
        usual = dict(client=LocalTraining(batch_size=5, max_local_steps=3), client_optimizer=Sgd(learning_rate=0.05))
        usual |= dict(num_clients=len(self.sizes), num_examples=sum(self.sizes))
        if networks not in self._models:
            self._models[networks] = self.model(networks)
        return options.build(Parts(self._models[networks], spec, **{**usual, **parts}))

    def engine(self, options: Gan = USUAL, spec: Any = None, summing: Any = None, examples: Any = None, **parts: Any) -> Any:
        examples = self.examples if examples is None else examples
        return (spec or Compiled()).build(self.process(options, examples=examples, **parts), examples, summing)

    def usual_engine(self) -> Any:
        """The one that `engine` builds without options."""
        if not self._usual:
            self._usual.append(self.engine())
        return self._usual[0]

    def run(self, engine: Any, inputs: list, state: Any = None) -> tuple[list, list, list]:
        """The state after the last round, its weights as arrays, and the metrics of each round."""
        state, metrics = engine.initialize(np.array([17, 4])) if state is None else state, []
        for round_input in inputs:
            state, found = engine.next(state, round_input)
            metrics.append(found)
        return state, self.weights(engine, state), metrics

    @staticmethod
    def weights(engine: Any, state: list) -> list:
        return [np.asarray(t) for name, t in zip(engine.state_names, state) if name[0] == "global_model_weights"]


@pytest.fixture
def gans(lab):
    return GanLab(lab)
