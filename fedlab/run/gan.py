"""A federated GAN: two networks, judged by the images that the generator makes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import tensorflow_federated as tff

from fedlab import randomness
from fedlab.archive import RunFolder, make_folder, replacing
from fedlab.archive.metrics import Record
from fedlab.errors import FedlabError
from fedlab.evaluation import GanEvaluation
from fedlab.evaluation.gan import GanEvaluator, ImageClassifier
from fedlab.models import Adversaries
from fedlab.models.adversarial import exported, gan_model
from fedlab.process import Ingredients
from fedlab.process.client_work import ExampleSpec
from fedlab.report.grids import save_animation, save_grid
from fedlab.run.federated import FederatedLearner

_MEASURED = {
    *("real_score", "generated_score", "polarity", "generator_norm", "discriminator_norm"),
    *("classifier_score", "frechet_logits", "frechet_features"),
}


class GanLearner(FederatedLearner):
    """Pictures of the same noise after every evaluated round; the networks as Keras files, and images, at the end."""

    def _process(self) -> tff.templates.IterativeProcess:
        experiment, examples = self.experiment, self.dataset.train
        shape, seed = examples.x.shape[1:], experiment.seed
        assert isinstance(experiment.model, Adversaries), "checked before"
        own = experiment.evaluation
        self._options = own if isinstance(own, GanEvaluation) else GanEvaluation()
        self._model = gan_model(experiment.model, shape, int(randomness.key(seed, "initial weights")[0] % 2**32))
        self.num_weights = sum(w.size for ws in self._model.initial_weights for w in ws)
        self._evaluator = self._build_evaluator()
        self._images: tuple[int, np.ndarray | None] = (0, None)  # the round that was last evaluated, and what was generated
        parts = Ingredients(
            model=self._model,
            examples=ExampleSpec(shape, examples.x.dtype),
            client=experiment.client,
            client_optimizer=experiment.client_optimizer,
            client_schedule=experiment.client_schedule,
            server_optimizer=experiment.server_optimizer,
            aggregator=self.privacy.aggregator(experiment) or experiment.aggregator.build(),
            takes_weights=experiment.why_uniform is None,
            largest_metric=experiment.largest_metric,
        )
        return experiment.process.build(parts)

    def _build_evaluator(self) -> GanEvaluator:
        """On images and noise that depend on the seed alone. The data's test set has every user's images, whoever trains."""
        seed, options, test = self.experiment.seed, self._options, self.dataset.test.x
        chosen = randomness.generator(seed, "real images").choice(len(test), min(options.num_images, len(test)), replace=False)
        num_images = max(options.num_images, options.grid_size**2)
        noise = randomness.generator(seed, "noise of pictures").normal(size=(num_images, self._model.noise_dimension))
        path = options.classifier_path
        classifier = ImageClassifier(path, test.shape[1:]) if path else None
        return GanEvaluator(self._model, test[np.sort(chosen)], noise.astype(np.float32), classifier)

    @property
    def _networks(self) -> tuple[list, list]:
        """The weights of the discriminator and of the generator."""
        count = len(self._model.initial_weights[0])
        return self.weights[:count], self.weights[count:]

    def is_measured(self, metric: str) -> bool:
        return metric in _MEASURED

    def _measured(self, round_num: int) -> dict[str, Any]:
        discriminator, generator = self._networks
        images = self._evaluator.images(generator)
        self._images = (round_num, images)
        return self._evaluator.scores(discriminator, generator, images)

    def _check(self, record: Record) -> None:
        if not np.isfinite(record.get("generated_score", 0.0)):
            raise FedlabError(
                f"round {record['round']}: the discriminator's score is {record['generated_score']}, the networks have diverged: "
                "lower client_optimizer.learning_rate, server_optimizer.learning_rate or process.generator_learning_rate."
            )

    def keep(self, folder: RunFolder, round_num: int) -> None:
        super().keep(folder, round_num)
        evaluated, images = self._images
        if images is None or evaluated != round_num:
            return
        make_folder(folder.images)
        with replacing(folder.images / f"round_{round_num:06d}.png") as partial:
            save_grid(images[: self._options.grid_size**2], self._options.grid_size, partial)

    def finish(self, folder: RunFolder) -> dict[str, Any]:
        """The last evaluation; generator.keras, discriminator.keras, samples.npz, and the pictures as an animation."""
        figures = {**super().finish(folder), **self._timed(self._measured, self.num_rounds), **self._evaluator.of_real()}
        images = self._images[1]
        assert images is not None
        networks = {"discriminator": self._model.discriminator, "generator": self._model.generator}
        for (name, network), weights in zip(networks.items(), self._networks):
            with replacing(folder.path / f"{name}.keras") as partial:
                exported(network, [np.asarray(w) for w in weights]).save(partial, save_format="keras")
        with replacing(folder.samples) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, images=images[: self._options.num_images])
        # A run may have had an evaluation in the last round that it was to have before it was given more
        grids = sorted(p for p in folder.images.glob("round_*.png") if self._is_due(int(re.sub(r"\D", "", p.stem))))
        if len(grids) > 1:
            with replacing(folder.images / "animation.gif") as partial:
                save_animation(grids, partial)
        return figures

    def _is_due(self, round_num: int) -> bool:
        return round_num % self.experiment.eval_every == 0 or round_num == self.num_rounds

    def lines(self) -> list[str]:
        discriminator, generator = (sum(w.size for w in ws) for ws in self._model.initial_weights)
        lines = [f"{discriminator:,} weights of the discriminator, {generator:,} of the generator"]
        lines += [*self.privacy.lines(), *self.experiment.secure.lines()]
        if self._options.classifier is None:
            lines.append(
                "no classifier score and no Fréchet distances: they need evaluation.classifier=RUN, a run of a classifier"
            )
        return lines
