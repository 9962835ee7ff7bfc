"""What a recipe's model costs: against torch's counter in a real step, and against formulas."""

import math

import pytest
import torch
from largest_variance import LargestVariance
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mae_core import load_config
from mae_core.build import build_backbone
from mae_core.cost.estimate import Cost, cost
from mae_core.cost.model import Parameters
from mae_core.cost.run import HARDWARE
from mae_core.interfaces import Mask
from mae_core.training.preflight import build_task
from mae_registry import MaeError

DEMOS = [
    "demo/image",
    "demo/video",
    "demo/audio",
    "methods/hiera_demo",
    "methods/satmae_group_demo",
    "methods/satmae_temporal_demo",
]


def cost_of(source, *overrides, samples=("1000000",)) -> Cost:
    return cost(load_config(source, overrides), hardware=HARDWARE["h100"], samples=samples)


def real_step(config) -> int:
    """FLOPs of a real step of two samples, by torch's counter."""
    task = build_task(config)
    task.build_model(fresh=True)
    task.open_data()
    (name,) = task.sources
    inputs = task.begin(name, 2, generator=torch.Generator().manual_seed(0), progress=0.5)
    loaded = [task.sources[name].load(index, seed=0) for index in range(2)]
    batch = task.normalize(
        {
            entry: type(sample)(
                torch.cat([each[entry].x for each in loaded]),
                {key: torch.cat([each[entry].extras[key] for each in loaded]) for key in sample.extras},
            )
            for entry, sample in loaded[0].items()
        }
    )
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        losses = task.losses(task.model, batch, inputs, task.weigh(inputs))
        torch.stack(list(losses.parts.values())).sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("recipe", DEMOS)
def test_flops_are_those_of_a_real_step(recipe):
    config = load_config(recipe, ["train.precision=32-true"])
    (parts,) = cost(config, hardware=HARDWARE["h100"]).model.samples.values()
    assert 2 * sum(part.training for part in parts.values()) == real_step(config)


def blocks(depth: int, tokens: int, width: int) -> int:
    """FLOPs of the forward pass: query, key, value, projection and MLP of four times the width, and attention."""
    return depth * (24 * tokens * width**2 + 4 * tokens**2 * width)


@pytest.mark.parametrize(
    ("recipe", "num_patches", "num_keep", "patch_dim", "width"),
    [
        ("image/mae_vit_base", 196, 49, 768, 768),
        ("image/mae_vit_huge", 256, 64, 588, 1280),
        ("video/videomae_small", 1568, 160, 1536, 384),
        ("audio/audiomae_esc50", 256, 51, 256, 768),
    ],
)
def test_a_vision_transformer_by_hand(recipe, num_patches, num_keep, patch_dim, width):
    config = load_config(recipe, ["model.encoder.depth=2"])
    ((entry, parts),) = cost_of(recipe, "model.encoder.depth=2").model.samples.items()
    assert math.prod(build_backbone(config).input(entry).tokenizer.grid.sizes) == num_patches
    embed = 2 * num_keep * patch_dim * width
    expected = blocks(2, num_keep + config["model.encoder.class_token"], width)
    assert parts["encoder"].forward == embed + expected
    assert parts["encoder"].training == 2 * embed + 3 * expected  # samples need no gradient


def test_the_decoder_by_hand():
    (parts,) = cost_of("image/mae_vit_base", "model.encoder.depth=1").model.samples.values()
    context, hidden, width = 50, 147, 512
    every = context + hidden
    last = 2 * width**2 * (hidden + 2 * every + hidden + 8 * hidden) + 4 * hidden * every * width  # of hidden patches alone
    expected = 2 * context * 768 * width + blocks(7, every, width) + last + 2 * hidden * width * 768
    assert parts["decoder"].forward == expected
    assert parts["decoder"].training == 3 * expected


def test_parameters_and_memory_by_hand():
    found = cost_of("image/mae_vit_base", "model.encoder.depth=2").model
    width, decoder, patch = 768, 512, 768
    encoder = 2 * (12 * width**2 + 13 * width) + 3 * width + (patch + 1) * width  # blocks, last norm and class token, embedding
    assert found.parameters["encoder"] == Parameters(encoder, 0)
    own = 8 * (12 * decoder**2 + 13 * decoder) + 3 * decoder + (width + 1) * decoder + (decoder + 1) * patch
    assert found.parameters["decoder"] == Parameters(own, 0)
    assert found.memory.gradients == 4 * (encoder + own)
    assert 0 <= found.memory.weights - found.memory.gradients < 4 * 400 * (width + decoder)  # tables of positions
    assert 0 < found.memory.optimizer - 8 * (encoder + own) < 1000  # two moments, and a number of steps for each tensor
    assert found.memory.copies < 2 * (encoder + own)


def test_teachers_are_frozen_and_cost_a_forward_pass():
    found = cost_of("methods/jepa_demo")
    (parts,) = found.model.samples.values()
    assert found.model.parameters["teacher"].trained == 0
    assert found.model.parameters["teacher"].frozen == found.model.parameters["encoder"].trained
    assert parts["target"].training == parts["target"].forward > parts["encoder"].forward


def test_data2vec_encodes_many_contexts_for_one_look_of_the_teacher():
    few, many = (
        cost_of("methods/data2vec_demo", f"model.modalities.image.masker.times={times}").model.samples["image"]
        for times in (2, 4)
    )
    assert many["target"].forward == few["target"].forward
    assert many["decoder"].forward == 2 * few["decoder"].forward


def test_paired_modalities_have_a_decoder_each():
    found = cost_of("image/multimae_base", "model.encoder={width: 96, depth: 2, heads: 2}")
    assert list(found.model.samples) == ["image+depth+semseg"]
    parts = found.model.samples["image+depth+semseg"]
    assert [name for name in parts if name.startswith("decoder")] == [
        "decoder of image",
        "decoder of depth",
        "decoder of semseg",
    ]
    assert set(found.model.parameters) == {"encoder", "decoder of image", "decoder of depth", "decoder of semseg"}


def test_several_streams_are_measured_one_by_one():
    small = "model.encoder={width: 48, depth: 1, heads: 2}"
    found = cost_of("joint/image_video_audio", small, samples=["image=8192", "video=4096", "audio=4096"])
    assert list(found.model.samples) == ["image", "video", "audio"]
    assert found.run is not None
    assert found.run.shares == {"image": 0.5, "video": 0.25, "audio": 0.25}


def test_a_schedule_counts_with_its_average():
    def encoder(ratio):
        masker = f"model.modalities.image.masker={{schedule: {{name: random}}, ratio: {ratio}}}"
        return cost_of("demo/image", masker).model.samples["image"]["encoder"]

    low, high, ramp = encoder(0.5), encoder(0.75), encoder("{from: 0.5, to: 0.75}")
    assert high.forward < ramp.forward < low.forward
    assert ramp.saved > (low.saved + high.saved) / 2  # what must fit is the largest batch


@pytest.mark.usefixtures("largest_variance")
def test_masks_that_depend_on_the_samples():
    plain, guided = (
        cost_of("demo/image", f"model.modalities.image.masker={{name: {name}, ratio: 0.75}}").model.training("image")
        for name in ("random", "largest_variance")
    )
    assert guided == plain


@pytest.mark.usefixtures("largest_variance")
def test_shapes_that_depend_on_the_samples_are_an_error(monkeypatch):
    def forward(self, grid, batch_size, *, generator):
        variance = self.patches.var(dim=-1)
        return Mask.from_hidden(variance > variance.median())

    monkeypatch.setattr(LargestVariance, "forward", forward)
    with pytest.raises(MaeError, match="depend on what is in the samples"):
        cost_of("demo/image", "model.modalities.image.masker={name: largest_variance, ratio: 0.75}")


def test_32_bits_take_more_memory_and_time():
    half, single = (cost_of("demo/image", f"train.precision={precision}") for precision in ("auto", "32-true"))
    assert half.model.saved("image") < single.model.saved("image") < 2 * half.model.saved("image")
    assert single.model.memory.copies == 0
    assert half.model.training("image") == single.model.training("image")
    assert half.time is not None
    assert single.time is not None
    assert single.time.hours > half.time.hours


def test_frozen_encoders_of_classifiers_cost_a_forward_pass():
    shrunk = "model.encoder={width: 48, depth: 2, heads: 2}"
    probe, tuned = (cost_of(f"image/{name}_base", shrunk).model for name in ("linprobe", "finetune"))
    assert probe.parameters["encoder"].trained == 0 < probe.parameters["encoder"].frozen
    frozen, trained = probe.samples["image"]["encoder"], tuned.samples["image"]["encoder"]
    assert frozen.training == frozen.forward == trained.forward
    assert frozen.saved == 0
    embed = 2 * 196 * 768 * 48
    assert trained.training == 3 * trained.forward - embed


def test_half_a_network_has_half_a_backward_pass():
    shrunk = "model.encoder={width: 48, depth: 4, heads: 2}"
    none, two = (cost_of("image/finetune_base", shrunk, f"task.tuned={tuned}").model.samples["image"] for tuned in (0, 2))
    block = blocks(1, 197, 48)
    assert two["encoder"].training - none["encoder"].training == 2 * 2 * block


def test_a_moving_average_takes_memory_and_no_flops():
    shrunk = "model.encoder={width: 48, depth: 1, heads: 2}"
    plain, average = (cost_of("image/finetune_base", shrunk, f"task.average={decay}").model for decay in ("null", "0.9999"))
    assert average.parameters["average"].frozen == sum(part.trained for part in plain.parameters.values())
    assert average.training("image") == plain.training("image")
    assert average.memory.weights == 2 * plain.memory.weights
