"""Folders of runs and of evaluations with numbers that the tests choose."""

import json
from pathlib import Path

import torch
import yaml

from mae_core.runs.results import write_results
from mae_core.runs.scoring import Predictions

CLASSES = ("ant", "bee", "cat")


def write_run(folder, *, losses=(), task="pretrain", recipe="image/mine", **config):
    """A folder as training leaves it, as far as reports read it."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"train": {"seed": 0, "epochs": 2, **config}}))
    (folder / "run.json").write_text(json.dumps({"recipe": recipe, "task": task, "status": "finished"}))
    steps = [{"step": step, "loss": loss, "wall_s": step * 0.5} for step, loss in enumerate(losses, start=1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    return folder


def write_evaluation(folder, *, num_right, seed=0, classes=CLASSES, draw=None, protocol="fine-tuning", **options):
    """Results for ten samples, one after the other of each class; the last ones are taken for the class after their own."""
    targets = torch.arange(10) % len(classes)
    said = torch.where(torch.arange(10) < num_right, targets, (targets + 1) % len(classes))
    scores = torch.nn.functional.one_hot(said, len(classes)) * 0.8 + 0.1
    facts = {"config": None, "data": {"train": 50}, "checkpoint": "runs/mine", "seconds": 5.0, **options}
    names = [f"{number}.png" for number in range(10)]
    return write_results(
        Path(folder), Predictions(names, targets, scores), protocol=protocol, classes=classes, seed=seed, draw=draw, **facts
    )
