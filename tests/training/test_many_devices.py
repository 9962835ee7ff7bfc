"""Any number of devices takes the same steps: processes that talk through gloo, against one process."""

import contextlib
import functools

import pytest
import torch
from ranks import on_ranks
from running import assert_same_gradients, first_step, interrupt_at, run
from several import several_modalities
from tones import register_tones

from mae_core import load_config
from mae_core.runs.checkpoint import load_newest
from mae_core.runs.logs import read_metrics
from mae_core.training.interrupts import Interrupted

BATCH = 12
SAVE_LATE = "train.checkpoint_steps=100"

pytestmark = pytest.mark.usefixtures("largest_variance")


@pytest.fixture(scope="module", autouse=True)
def components():
    register_tones()


def one_step(recipe, *overrides):
    """The tiny recipe on tones."""
    data = ["data.image=null", "data.image={name: tones}", "schedule.warmup_epochs=0"]
    train = [f"train={{epochs: 1, batch_size: {BATCH}, num_pictures: 0, num_workers: 0}}"]
    return load_config(recipe, [*data, *train, *overrides])


def assert_same_step(config, folder, *, sizes=(2,), strategies=("ddp",)):
    """On one device, and on several."""
    expected = first_step(config, folder / "alone")
    for strategy in strategies:
        own = load_config(config.to_dict(), [f"train.strategy={strategy}"])
        for size in sizes:
            step = on_ranks(size, functools.partial(first_step, own, folder / f"{strategy}-{size}"))[0]
            assert_same_gradients(step, expected)


def assert_close(checkpoint, expected):
    """The same weights but for rounding, after as many steps."""
    assert checkpoint.step == expected.step
    assert checkpoint.model.keys() == expected.model.keys()
    for name, value in checkpoint.model.items():
        torch.testing.assert_close(
            value, expected.model[name], rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


MASKERS = {
    "ragged": "{any: [{name: random, ratio: 0.5}, {name: block, ratio: 0.4, exact: false}], ragged: true}",
    "several queries": "{name: multi_block, counts: hidden}",
    "ragged and guided": "{any: [{name: random, ratio: 0.3}, {name: largest_variance, ratio: 0.3}], ragged: true}",
}


def test_five_devices(tiny_recipe, tmp_path):
    """They have unequal shares of twelve samples."""
    assert_same_step(one_step(tiny_recipe), tmp_path, sizes=(5,), strategies=("ddp", "fsdp"))


@pytest.mark.parametrize("masker", MASKERS.values(), ids=MASKERS.keys())
def test_masks(tiny_recipe, tmp_path, masker):
    overrides = [
        "model.modalities.image.tokenizer={input_size: [32, 32], patch_size: [4, 4]}",
        f"model.modalities.image.masker={masker}",
        f"model.encoder.mask_tokens={'true' if 'ragged' in masker else 'false'}",
        "train.device_batch_size=4",
    ]
    assert_same_step(one_step(tiny_recipe, *overrides), tmp_path)


CLASSIFICATION = {
    "mixed": "{name: classify, mix: {mode: batch}, smoothing: 0.1, erase: 0.5, average: 0.9, validation: {}}",
    "mixed in pairs": "{name: classify, mix: {mode: pair}}",
    "part of the encoder": "{name: classify, tuned: 1}",
}


@pytest.mark.parametrize("task", CLASSIFICATION.values(), ids=CLASSIFICATION.keys())
def test_classification(tiny_recipe, tmp_path, task):
    config = one_step(tiny_recipe, "model.encoder.final_norm=false", f"task={task}")
    assert_same_step(config, tmp_path, sizes=(4,), strategies=("ddp", "fsdp") if "batch" in task else ("ddp",))


@pytest.mark.parametrize("paired", [True, False])
def test_several_modalities(photos, tmp_path, paired):
    """A modality without data in a step has no gradients on any device, not even zeros, which AdamW would act on."""
    assert_same_step(
        several_modalities(photos, tmp_path, paired=paired, batch_size=BATCH), tmp_path, strategies=("ddp", "fsdp")
    )


def test_a_teacher(tiny_recipe, tmp_path):
    """Its loss, and what it is after some steps."""
    config = load_config(
        tiny_recipe, ["model.modalities.image.target={name: jepa_latents, momentum: [0.9, 1.0]}", "train.epochs=2", SAVE_LATE]
    )
    run(config, tmp_path / "alone")
    for strategy in ("ddp", "fsdp"):
        own = load_config(config.to_dict(), [f"train.strategy={strategy}"])
        on_ranks(2, functools.partial(run, own, tmp_path / strategy))
        assert_close(load_newest(tmp_path / strategy), load_newest(tmp_path / "alone"))


def train(config, folder, *, resume, until):
    """Up to step `until`, where the process that writes is asked to stop."""
    with contextlib.suppress(Interrupted):
        run(config, folder, resume=resume, on_step=interrupt_at(until))


def test_a_run_goes_on_with_another_number_of_devices(tiny_recipe, tmp_path):
    """With weights that are shared, then whole, shared again and whole, as if nothing had happened."""
    run(load_config(tiny_recipe), tmp_path / "alone")
    for size, name, step in ((2, "fsdp", 4), (3, "ddp", 8), (2, "fsdp", 10), (1, "ddp", 12)):
        config = load_config(tiny_recipe, [f"train.strategy={name}", SAVE_LATE])
        on_ranks(size, functools.partial(train, config, tmp_path / "run", resume=step > 4, until=step - 1))
    assert_close(load_newest(tmp_path / "run"), load_newest(tmp_path / "alone"))
    losses = [[entry["loss"] for entry in read_metrics(tmp_path / name / "metrics.jsonl")] for name in ("alone", "run")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
