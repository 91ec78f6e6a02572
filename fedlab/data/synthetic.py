"""The synthetic classification of Li et al. 2020 (FedProx), in which users differ as much as two parameters say."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt

from fedlab.data.source import Source
from fedlab.randomness import generator
from fedlab.types import ExampleSet

_INPUTS, _CLASSES = 60, 10


class Synthetic(Source):
    """Synthetic(α, β) of Li et al. 2020, section 5.1 and appendix C.1: x float32 [N, 60], 10 classes, with user ids.

    User k labels x by argmax(W_k x + b_k), with entries of W_k and b_k from N(u_k, 1), u_k ~ N(0, α²). Its inputs are
    x ~ N(v_k, Σ), Σ_jj = j^−1.2, with entries of v_k from N(B_k, 1), B_k ~ N(0, β²). As in the authors' program, `alpha` and
    `beta` are standard deviations. `alpha`: how much users' models differ; `beta`: how much their inputs differ. `iid`: all users
    have one model with u_k = 0, and v_k = 0; then `alpha` and `beta` have no effect. User k has 50 + ⌊exp(z)⌋ examples,
    z ~ N(4, 2²). `draw`: each number is another data set; it does not depend on the seed of the run.
    """

    alpha: NonNegativeFloat = 1.0
    beta: NonNegativeFloat = 1.0
    iid: bool = False
    num_users: int = Field(30, gt=0)
    draw: NonNegativeInt = 0

    name: ClassVar[str] = "synthetic"
    unread: ClassVar[tuple[str, str, str]] = ("drawn", str(_CLASSES), "yes")

    @property
    def has_user_ids(self) -> bool:
        return True

    def _read(self) -> tuple[ExampleSet, ExampleSet | None]:
        scale = np.arange(1, _INPUTS + 1) ** -0.6  # the square roots of Σ_jj
        shared = self._model(generator(self.draw, "synthetic model"), 0.0)
        x, y, users = [], [], []
        for user in range(self.num_users):
            rng = generator(self.draw, "synthetic user", user)
            size = 50 + int(rng.lognormal(4.0, 2.0))
            own = self._model(rng, rng.normal(0.0, self.alpha))
            center = rng.normal(rng.normal(0.0, self.beta), 1.0, _INPUTS)
            weights, bias = shared if self.iid else own
            inputs = (0.0 if self.iid else center) + scale * rng.standard_normal((size, _INPUTS))
            x.append(inputs.astype(np.float32))
            y.append(np.argmax(inputs @ weights + bias, axis=1).astype(np.int32))
            users.append(np.full(size, user))
        return ExampleSet(np.concatenate(x), np.concatenate(y), _CLASSES, user_ids=np.concatenate(users)), None

    def _model(self, rng: np.random.Generator, mean: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns weights [60, 10] and biases [10]."""
        return rng.normal(mean, 1.0, (_INPUTS, _CLASSES)), rng.normal(mean, 1.0, _CLASSES)
