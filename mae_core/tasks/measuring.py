"""How good a classifier is on held-out samples, in the middle of its training and at the end."""

import warnings
from pathlib import Path
from typing import Literal

from torch import Tensor

from mae_core.config import Config
from mae_core.evaluation.predicting import Predicted, predict
from mae_core.interfaces import Devices
from mae_core.model.classifier import Classifier
from mae_core.parts.soft_targets import binary_cross_entropy, cross_entropy, soft_targets
from mae_core.runs.logs import read_metrics
from mae_core.runs.outputs import draw_samples
from mae_core.runs.results import write_results
from mae_core.runs.scoring import Predictions, judge
from mae_core.tasks.labelled import LabelledData

Loss = Literal["cross_entropy", "binary"]
ROWS = {"cross_entropy": cross_entropy, "binary": binary_cross_entropy}
"""Logits and targets, (rows, classes) each -> (rows,)."""


class Measuring:
    """Predicts the held-out samples, and remembers what was predicted until the model has changed."""

    def __init__(self, config: Config, data: LabelledData, *, loss: Loss) -> None:
        self._config, self._data, self._loss = config, data, loss
        self._predicted: Predicted | None = None
        self._num_told = 0

    def forget(self) -> None:
        """The model has changed."""
        self._predicted = None

    def predict(self, model: Classifier, devices: Devices) -> Predicted | None:
        """What the model, which all devices have, says of the held-out samples; None where there are none."""
        if self._predicted is None and self._data.held_out is not None:
            num_workers = self._config["train"]["num_workers"]
            self._predicted = predict(
                model, self._data.held_out, entry=self._data.entry, num_workers=num_workers, devices=devices
            )
            if devices.is_writer:
                self._tell_skipped(self._predicted)
        return self._predicted

    def measure(self, model: Classifier, devices: Devices) -> dict[str, float]:
        """The loss of all views, without smoothing, and what follows from the predictions; nothing without held-out data."""
        predicted = self.predict(model, devices)
        if predicted is None:
            return {}
        num_views = predicted.logits.shape[1]
        targets = soft_targets(predicted.targets, len(self._data.labels.names)).repeat_interleave(num_views, dim=0)
        loss = float(ROWS[self._loss](predicted.logits.flatten(0, 1), targets).mean())
        return {"loss": loss, **judge(self.predictions(predicted), self._data.labels.names).metrics}

    def write(self, predicted: Predicted, model: Classifier, folder: Path, *, protocol: str) -> None:
        """`results.json` in the folder of the run, of what the model has predicted."""
        assert self._data.held_out is not None
        config, entry = self._config, self._data.entry
        metrics = read_metrics(folder / "metrics.jsonl")
        write_results(
            folder,
            self.predictions(predicted),
            config=config,
            protocol=protocol,
            classes=self._data.labels.names,
            data={
                "root": config["data"][entry].get("root"),
                "training_samples": len(self._data.training),
                "held_out_samples": len(predicted.names),
                "unreadable": [f"{sample}: {reason}" for sample, reason in predicted.skipped],
            },
            checkpoint=config["init"]["checkpoint"] if "init" in config else None,
            seed=config["train"]["seed"],
            seconds=metrics[-1].get("wall_s", 0.0) if metrics else 0.0,
            draw=draw_samples(model.backbone, entry, self._data.held_out, predicted.indices),
        )

    def predictions(self, predicted: Predicted) -> Predictions:
        """The probabilities of the classes, averaged over the views as published."""
        scores: Tensor = predicted.logits.softmax(dim=2) if self._loss == "cross_entropy" else predicted.logits.sigmoid()
        return Predictions(predicted.names, predicted.targets, scores.mean(dim=1))

    def _tell_skipped(self, predicted: Predicted) -> None:
        """Once, and again where there are more of them."""
        if len(predicted.skipped) > self._num_told:
            self._num_told = len(predicted.skipped)
            total, first = self._num_told + len(predicted.names), predicted.skipped[0]
            warnings.warn(
                f"{self._num_told} of {total} held-out samples cannot be read and are left out, such as {first.sample} "
                f"({first.reason}); the results list them all",
                stacklevel=2,
            )
