"""Options of the local training, which the algorithms share. Imports no TensorFlow."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from fedlab.privacy import NoiseSource, Norm
from fedlab.spec import Promise, Spec


class LocalTraining(Spec):
    """The amount of local training in one round."""

    local_epochs: PositiveInt = 1  # E in McMahan et al. 2017
    batch_size: PositiveInt = 20  # B; the last batch of an epoch may be smaller
    max_local_steps: PositiveInt | None = None  # the largest number of batches per round, whatever the epochs
    weight_noise: NonNegativeFloat = 0.0  # standard deviation of noise on the weights that a client sends. Nothing clips them, so
    # ε is ∞

    @property
    def private(self) -> DpSgd | None:
        """Returns the options by which a client protects each of its examples; None if it protects none."""
        return None


class DpSgd(LocalTraining):
    """Local training by DP-SGD (Abadi et al. 2016, algorithm 1): protects each example from anyone who sees the client's update.

    The gradient of every example is clipped to `clip_norm`; Gaussian noise of standard deviation `noise_multiplier` · `clip_norm`
    is added to their sum, which is divided by `batch_size`, a constant, however many examples the batch has.
    """

    vouches: ClassVar[tuple[Promise, ...]] = ("privacy",)

    clip_norm: Norm = 1.0
    noise_multiplier: NonNegativeFloat = 1.0
    # poisson: each of E · ⌈n / B⌉ steps samples every example independently with probability min(B / n, 1), as the account
    # assumes. shuffled: each example once per epoch, without amplification
    batches: Literal["poisson", "shuffled"] = "poisson"
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None  # None: 1 / n^1.1 for the n examples of the smallest client
    noise_source: NoiseSource = "key"  # for the noise, and for Poisson batches

    @property
    def private(self) -> DpSgd:
        return self
