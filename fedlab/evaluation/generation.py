"""Generation: evaluates a pair of networks by the images of the generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from fedlab import randomness
from fedlab.archive import RunFolder, replacing
from fedlab.archive.images import write_round
from fedlab.errors import ConfigError
from fedlab.evaluation import GanEvaluation
from fedlab.evaluation.evaluator import Evaluator, Trained
from fedlab.evaluation.gan import GanEvaluator, ImageClassifier
from fedlab.models.adversarial import exported, gan_model
from fedlab.types import Partition

_MEASURED = {
    *("real_score", "generated_score", "polarity", "generator_norm", "discriminator_norm"),
    *("classifier_score", "frechet_logits", "frechet_features"),
}


class GeneratedImages(Evaluator):
    """Records the images of fixed noise after every evaluated round, and saves the networks and images at the end."""

    losses = ("generated_score", "server_generator_loss")
    signs: ClassVar[Mapping[str, str]] = {
        "server_update_non_finite": "the discriminator's update is not finite",
        "server_generator_non_finite": "the generator's weights are not finite",
    }

    def _build(self, model: Any) -> None:
        own, train = self.evaluation, self.dataset.train
        if train.x.dtype == np.int32:
            raise ConfigError(f"process=gan generates images, and the examples of data {self.dataset.name} are integers.")
        shape = train.x.shape[1:]
        self._options = own if isinstance(own, GanEvaluation) else GanEvaluation()
        self.model = gan_model(model, shape, int(randomness.key(self.seed, "initial weights")[0] % 2**32))
        self.num_weights = sum(w.size for ws in self.model.initial_weights for w in ws)
        self._evaluator = self._build_evaluator()
        self._images: tuple[int, np.ndarray | None] = (0, None)  # the last evaluated round, and its images

    def _build_evaluator(self) -> GanEvaluator:
        """Returns an evaluator with images and noise that depend only on the seed. The test set has the images of all users."""
        options, test = self._options, self.dataset.test.x
        rng = randomness.generator(self.seed, "real images")
        chosen = rng.choice(len(test), min(options.num_images, len(test)), replace=False)
        num_images = max(options.num_images, options.grid_size**2)
        noise = randomness.generator(self.seed, "noise of pictures").normal(size=(num_images, self.model.noise_dimension))
        path = options.classifier_path
        classifier = ImageClassifier(path, test.shape[1:]) if path else None
        return GanEvaluator(self.model, test[np.sort(chosen)], noise.astype(np.float32), classifier)

    def _networks(self, trained: Trained) -> tuple[list, list]:
        """Returns the weights of the discriminator and of the generator."""
        count, weights = len(self.model.initial_weights[0]), trained.weights
        return weights[:count], weights[count:]

    def is_measured(self, metric: str) -> bool:
        return metric in _MEASURED

    def measured(self, trained: Trained, round_num: int) -> dict[str, Any]:
        discriminator, generator = self._networks(trained)
        images = self._evaluator.images(generator)
        self._images = (round_num, images)
        return self._evaluator.scores(discriminator, generator, images)

    def keep(self, folder: RunFolder, round_num: int) -> None:
        evaluated, images = self._images
        if images is not None and evaluated == round_num:
            write_round(folder, round_num, images[: self._options.grid_size**2], self._options.grid_size)

    def finish(self, trained: Trained, partition: Partition, folder: RunFolder) -> dict[str, Any]:
        """Writes generator.keras, discriminator.keras and samples.npz; returns metrics of the real images."""
        images = self._images[1]
        assert images is not None, "the last round is evaluated"
        networks = {"discriminator": self.model.discriminator, "generator": self.model.generator}
        for (name, network), weights in zip(networks.items(), self._networks(trained)):
            with replacing(folder.path / f"{name}.keras") as partial:
                exported(network, [np.asarray(w) for w in weights]).save(partial, save_format="keras")
        with replacing(folder.samples) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, images=images[: self._options.num_images])
        return self._evaluator.of_real()

    def lines(self) -> list[str]:
        discriminator, generator = (sum(w.size for w in ws) for ws in self.model.initial_weights)
        lines = [f"{discriminator:,} weights of the discriminator, {generator:,} of the generator"]
        if self._options.classifier is None:
            lines.append(
                "no classifier score and no Fréchet distances: they need evaluation.classifier=RUN, a run of a classifier"
            )
        return lines
