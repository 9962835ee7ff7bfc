"""Any split of an effective batch into micro-batches is the same step: equal losses, and gradients to one in a million."""

from pathlib import Path

import pytest
import torch
from running import assert_same_gradients, first_step
from several import several_modalities
from tones import register_tones

from mae_core import Config, load_config

BATCH = 12

MASKERS = {
    "plain": "{name: random, ratio: 0.75}",
    "ragged": "{any: [{name: random, ratio: 0.5}, {name: block, ratio: 0.4, exact: false}], ragged: true}",
    "several contexts": (
        "{name: multi_block, targets: [{num_blocks: 4, scale: [0.1, 0.1]}, {num_blocks: 2, scale: [0.3, 0.3]}], "
        "context_scale: null, predict: union}"
    ),
    "several queries": "{name: multi_block, counts: hidden}",
    "repeats": "{repeat: {name: inverse_block, ratio: 0.8}, times: 3}",
    "guided": "{name: largest_variance, ratio: 0.5}",
    "ragged and guided": "{any: [{name: random, ratio: 0.3}, {name: largest_variance, ratio: 0.3}], ragged: true}",
}


pytestmark = pytest.mark.usefixtures("largest_variance")


@pytest.fixture(scope="module", autouse=True)
def components():
    register_tones()


def one_step(recipe: Path, size: int, *overrides: str) -> Config:
    """The tiny recipe on tones, `size` samples at once."""
    data = ["data.image=null", "data.image={name: tones}", "schedule.warmup_epochs=0"]
    train = [f"train={{epochs: 1, batch_size: {BATCH}, device_batch_size: {size}, num_pictures: 0}}"]
    return load_config(recipe, [*data, *train, *overrides])


def assert_same_step(make_config, folder: Path, *, sizes=(4, 1)) -> None:
    """Whole, in three micro-batches, and one sample at a time."""
    whole, entry = first_step(make_config(BATCH), folder / "whole")
    assert len(whole) > 10
    assert entry["grad_norm"] > 0
    for size in sizes:
        gradients, own = first_step(make_config(size), folder / str(size))
        assert_same_gradients((gradients, own), (whole, entry))
        flat, expected = (torch.cat([tensors[name].flatten() for name in whole]) for tensors in (gradients, whole))
        assert float((flat - expected).norm() / expected.norm()) < 3e-6


@pytest.mark.parametrize("masker", MASKERS.values(), ids=MASKERS.keys())
def test_masked_pretraining(tiny_recipe, tmp_path, masker):
    overrides = [
        "model.modalities.image.tokenizer={input_size: [32, 32], patch_size: [4, 4]}",
        f"model.modalities.image.masker={masker}",
        f"model.encoder.mask_tokens={'true' if 'ragged' in masker else 'false'}",
    ]
    assert_same_step(lambda size: one_step(tiny_recipe, size, *overrides), tmp_path)


def test_several_views_of_a_sample(tiny_recipe, tmp_path):
    assert_same_step(lambda size: one_step(tiny_recipe, size, "data.image.num_views=2"), tmp_path)


CLASSIFICATION = {
    "plain": "{name: classify}",
    "mixed": "{name: classify, mix: {mode: batch}, smoothing: 0.1}",
    "mixed in pairs": "{name: classify, mix: {mode: pair}}",
    "erased": "{name: classify, erase: 0.5, loss: binary}",
    "dropped patches": (
        "{name: classify, masker: {any: [{name: random, over: [h], ratio: 0.4}, {name: random, over: [w], ratio: 0.4}]}}"
    ),
    "part of the encoder": "{name: classify, tuned: 1, mix: {}, erase: 0.5, average: 0.9, masker: {name: random, ratio: 0.5}}",
}


@pytest.mark.parametrize("task", CLASSIFICATION.values(), ids=CLASSIFICATION.keys())
@pytest.mark.parametrize("num_views", [1, 2])
def test_classification(tiny_recipe, tmp_path, task, num_views):
    sizes = (4, 2) if "mix" in task else (4, 1)
    views = f"data.image.num_views={num_views}"
    assert_same_step(
        lambda size: one_step(tiny_recipe, size, "model.encoder.final_norm=false", f"task={task}", views), tmp_path, sizes=sizes
    )


def test_modalities_that_are_masked_together(photos, tmp_path):
    paired = several_modalities(photos, tmp_path, paired=True, batch_size=BATCH).to_dict()
    assert_same_step(lambda size: load_config(paired, [f"train.device_batch_size={size}"]), tmp_path)
