"""From pre-training to fine-tuning and probing on made-up pictures of two classes, with the shipped recipes in small."""

import numpy as np
import pytest
from PIL import Image
from running import assert_same_bits, interrupt_at, run

from mae_core import load_backbone, load_config
from mae_core.runs.checkpoint import list_checkpoints, load_checkpoint
from mae_core.runs.logs import read_metrics
from mae_core.runs.results import read_results
from mae_core.training.interrupts import Interrupted
from mae_registry import ConfigError

SIZES = [
    "model.encoder.width=48",
    "model.encoder.depth=2",
    "model.encoder.heads=3",
    "model.modalities.image.tokenizer={input_size: [32, 32], patch_size: [8, 8]}",
    "model.modalities.image.decoder={width: 32, depth: 1, heads: 2}",
    "train.num_workers=0",
    "train.num_pictures=0",
    "train.batch_size=16",
]


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    """train/ and val/ with photographs of stripes that lie or stand."""
    folder = tmp_path_factory.mktemp("stripes")
    random = np.random.default_rng(0)
    for part, number in (("train", 24), ("val", 12)):
        for name in ("lying", "standing"):
            (folder / part / name).mkdir(parents=True)
            for index in range(number):
                wave = np.sin(np.arange(40) * random.uniform(0.5, 0.9) + random.uniform(0, 6))[:, None].repeat(40, axis=1)
                pixels = 127 + 90 * (wave if name == "lying" else wave.T)[..., None] + random.normal(0, 8, (40, 40, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / part / name / f"{index:02}.png")
    return folder


@pytest.fixture(scope="module")
def pretrained(stripes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "pretrained"
    lr = ["optimizer.base_lr=null", "optimizer.lr=2e-3", "schedule.warmup_epochs=1", "train.epochs=20"]
    run(load_config("image/mae_vit_base", [*SIZES, *lr, f"data.image.root={stripes / 'train'}"]), folder)
    return folder


def downstream(recipe, checkpoint, stripes, *overrides):
    data = [f"data.image.root={stripes / 'train'}", f"task.validation={{root: {stripes / 'val'}}}"]
    return load_config(recipe, [*SIZES, *data, f"init={{checkpoint: {checkpoint}}}", *overrides])


def weights(folder):
    return load_checkpoint(list_checkpoints(folder)[0]).model


TUNING = [
    "optimizer.base_lr=null",
    "optimizer.lr=4e-3",
    "schedule.warmup_epochs=1",
    "train.epochs=20",
    "train.num_validations=4",
]


def test_fine_tuning_with_the_published_recipe(pretrained, stripes, tmp_path):
    config = downstream("image/finetune_base", pretrained, stripes, *TUNING)
    said = run(config, tmp_path / "whole")
    assert any(f"init    {pretrained}; not taken from it: encoder.norm.weight, encoder.norm.bias" in text for text in said)
    results = read_results(tmp_path / "whole")
    assert results is not None
    assert results.protocol == "fine-tuning"
    assert results.checkpoint == str(pretrained)
    assert list(results.classes) == ["lying", "standing"]
    assert weights(tmp_path / "whole")["head.linear.weight"].shape == (2, 48)
    assert results.mean("accuracy") > 0.9
    measured = [entry["val/accuracy"] for entry in read_metrics(tmp_path / "whole" / "metrics.jsonl") if "val/loss" in entry]
    assert len(measured) == 4
    assert measured[-1] == pytest.approx(results.mean("accuracy"))
    with pytest.raises(Interrupted):
        run(config, tmp_path / "parts", on_step=interrupt_at(17))
    run(config, tmp_path / "parts", resume=True)
    assert_same_bits(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_linear_probing_with_the_published_recipe(pretrained, stripes, tmp_path):
    run(downstream("image/linprobe_base", pretrained, stripes, *TUNING, "optimizer.lr=2.0"), tmp_path / "run")
    results = read_results(tmp_path / "run")
    assert results is not None
    assert results.protocol == "linear probe"
    assert results.mean("accuracy") > 0.7
    before, after = (load_backbone(folder).state_dict() for folder in (pretrained, tmp_path / "run"))
    assert_same_bits(before, after)


def test_larger_pictures_take_interpolated_positions(pretrained, stripes, tmp_path):
    larger = ["model.modalities.image.tokenizer.input_size=[48, 40]", "train.epochs=2", "schedule.warmup_epochs=0"]
    with pytest.raises(ConfigError, match=r"h=4 w=4 in it and h=6 w=5 here; .*init\.interpolate=true"):
        run(downstream("image/finetune_base", pretrained, stripes, *larger), tmp_path / "run")
    run(downstream("image/finetune_base", pretrained, stripes, *larger, "init.interpolate=true"), tmp_path / "run")
    assert load_backbone(tmp_path / "run").input("image").positions.table.shape == (30, 48)
