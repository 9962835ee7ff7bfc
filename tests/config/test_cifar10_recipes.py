"""The recipes for CIFAR-10, which bench/cifar10.py goes through by their names: a step of each, in small."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_core.cli import main
from mae_core.runs.logs import read_metrics

SMALL = (
    "model.encoder.width=24", "model.encoder.depth=2", "model.modalities.image.decoder.width=24",
    "model.modalities.image.decoder.depth=1",
)  # fmt: skip
ONE_STEP = ("schedule.warmup_epochs=0", "train.epochs=1", "train.batch_size=8", "train.num_workers=0", "train.num_pictures=0")


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train/ and test/, of four pictures of 32 x 32 pixels of each of two classes."""
    folder, random = tmp_path_factory.mktemp("cifar10"), np.random.default_rng(0)
    for split, name, number in itertools.product(("train", "test"), ("cat", "dog"), range(4)):
        path = folder / split / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return folder


def mae(*words: object) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert not stop.value.code


@pytest.mark.parametrize("model", ["cifar10_small", "cifar10_tiny"])
def test_the_recipes_of_a_model_train_one_after_the_other(model: str, cifar10: Path, tmp_path: Path):
    pretrained, train = tmp_path / "pretrained", f"data.image.root={cifar10 / 'train'}"
    tuned, scratch, validation = tmp_path / "finetune", tmp_path / "scratch", f"task.validation.root={cifar10 / 'test'}"
    mae("pretrain", f"image/{model}", train, *SMALL, *ONE_STEP, "--out", pretrained)
    one_block = ("task.tuned=1", *ONE_STEP, "--recipe", f"image/{model}_finetune")
    mae("finetune", pretrained, cifar10, *one_block, "--out", tuned)
    mae("pretrain", f"image/{model}_scratch", train, validation, *SMALL, *ONE_STEP, "--out", scratch)
    for folder in (pretrained, tuned, scratch):
        (step,) = read_metrics(folder / "metrics.jsonl")
        assert step["grad_norm"] > 0
        assert folder == pretrained or 0 <= step["val/accuracy"] <= 1
