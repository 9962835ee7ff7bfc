import itertools
import math
import statistics
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mae_core.interfaces import Seen, TargetPlace, gather_patches
from mae_core.parts.patches import PatchTokenizer
from mae_core.parts.pixels import Pixels
from mae_core.parts.positions import SinCos
from mae_image.tokenizer import IMAGENET_MEAN, IMAGENET_STD, ImagePatches
from mae_registry import ConfigError, MaeError


class Volumes(PatchTokenizer):
    axes = ("t", "h", "w")


class Signals(PatchTokenizer):
    axes = ("t",)


KINDS = {1: Signals, 2: ImagePatches, 3: Volumes}


def make_tokenizer(input_size: Sequence[int], patch_size: Sequence[int], channels: int, width: int = 4) -> PatchTokenizer:
    constants = {name: [0.5] * channels for name in ("mean", "std")}
    return KINDS[len(input_size)](width, input_size=input_size, patch_size=patch_size, channels=channels, **constants)  # type: ignore[arg-type]


def image_tokenizer() -> PatchTokenizer:
    return make_tokenizer([6, 10], [3, 2], channels=2)


@st.composite
def tokenizers(draw: st.DrawFn) -> PatchTokenizer:
    num_axes = draw(st.integers(1, 3))
    sides = draw(st.lists(st.integers(1, 4), min_size=num_axes, max_size=num_axes))
    counts = draw(st.lists(st.integers(1, 4), min_size=num_axes, max_size=num_axes))
    sizes = [side * count for side, count in zip(sides, counts, strict=True)]
    return make_tokenizer(sizes, sides, draw(st.sampled_from([1, 2, 3, 13])))


@given(tokenizers())
def test_patches_join_to_the_sample(tokenizer: PatchTokenizer) -> None:
    x = torch.arange(2 * math.prod(tokenizer.sample_shape)).reshape(2, *tokenizer.sample_shape)
    patches = tokenizer.patchify(x)
    assert patches.shape == (2, tokenizer.grid.num_patches, tokenizer.patch_dim)
    assert tokenizer.unpatchify(patches).equal(x)


def test_values_of_a_patch_are_ordered_row_column_channel() -> None:
    tokenizer = image_tokenizer()
    x = torch.randn(2, 2, 6, 10)
    patches = tokenizer.patchify(x)
    for n, (row, column) in enumerate(itertools.product(range(2), range(5))):
        expected = [x[1, c, 3 * row + p, 2 * column + q] for p in range(3) for q in range(2) for c in range(2)]
        assert patches[1, n].tolist() == [float(value) for value in expected]


def test_embedding_is_the_strided_convolution() -> None:
    tokenizer = image_tokenizer()
    x = torch.randn(2, 2, 6, 10)
    assert tokenizer.proj is not None
    weight = tokenizer.proj.weight.reshape(4, 3, 2, 2).permute(0, 3, 1, 2)  # d (p q c) -> d c p q
    expected = F.conv2d(x, weight, tokenizer.proj.bias, stride=(3, 2)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(
        tokenizer.embed(tokenizer.patchify(x), torch.arange(10).expand(2, -1)), expected, rtol=0, atol=1e-6
    )


def test_bytes_and_floats_normalize_alike() -> None:
    tokenizer = ImagePatches(4, input_size=(2, 2), patch_size=(1, 1))
    x = torch.randint(0, 256, (2, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    normal = tokenizer.normalize(x)
    assert normal.dtype == torch.float32
    assert normal.equal(tokenizer.normalize(x.float() / 255))
    for channel, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)):
        expected = (int(x[1, channel, 0, 1]) / 255 - mean) / std
        assert float(normal[1, channel, 0, 1].detach()) == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(tokenizer.denormalize(normal), x.float() / 255, rtol=0, atol=1e-6)


def test_normalisation_constants_follow_the_device_and_are_not_saved() -> None:
    tokenizer = ImagePatches(4)
    assert set(tokenizer.state_dict()) == {"proj.weight", "proj.bias"}
    assert {name for name, _ in tokenizer.named_buffers()} == {"mean", "std"}


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            {"input_size": (225, 224)},
            "input_size [225, 224] is not divisible by patch_size [16, 16]: axis 'h' has 225 = 14 x 16 + 1; use 224 or 240",
        ),
        (
            {"input_size": (16, 10)},
            "input_size [16, 10] is not divisible by patch_size [16, 16]: axis 'w' has 10 = 0 x 16 + 10; use 16",
        ),
        ({"input_size": (16,)}, "input_size is [16]; it needs 2 positive sizes, for h, w"),
        ({"patch_size": (16, 0)}, "patch_size is [16, 0]; it needs 2 positive sizes, for h, w"),
        ({"channels": 4}, "mean has 3 values but there are 4 channels; give one value for each channel"),
        ({"std": (1.0, 1.0)}, "std has 2 values but there are 3 channels; give one value for each channel"),
    ],
)
def test_sizes_that_do_not_fit(recipe: dict, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        ImagePatches(4, **recipe)
    assert str(error.value) == message


@pytest.mark.parametrize("shape", [(2, 3, 6, 10), (2, 2, 10, 6), (2, 6, 10), (2, 2, 6, 10, 1)])
def test_another_shape_than_the_models(shape: tuple[int, ...]) -> None:
    with pytest.raises(MaeError) as error:
        image_tokenizer().patchify(torch.zeros(shape))
    assert str(error.value) == f"the model takes samples of shape (2, 6, 10) (channels, h, w), in batches; got {shape}"


def targets_at(target: Pixels, tokenizer: PatchTokenizer, x: Tensor, ids: Tensor) -> Tensor:
    return gather_patches(target.prepare(Seen("only", x, tokenizer.patchify(x), {}, None)), ids)


def place(tokenizer: PatchTokenizer) -> TargetPlace:
    return TargetPlace("only", tokenizer, 8, 1, lambda width: SinCos(tokenizer.grid, width))


def test_patches_are_normalized_by_their_own_unbiased_variance() -> None:
    tokenizer = image_tokenizer()
    target = Pixels(place(tokenizer))
    assert target.dim == tokenizer.patch_dim == 12
    x = torch.randn(1, 2, 6, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-3
    normalized = targets_at(target, tokenizer, x, torch.tensor([[7, 2]]))
    for row, n in enumerate([7, 2]):
        values = tokenizer.patchify(x)[0, n].tolist()
        mean, variance = statistics.fmean(values), statistics.variance(values)  # about 1e-6: as large as epsilon
        expected = [(value - mean) / math.sqrt(variance + 1e-6) for value in values]
        assert normalized[0, row].tolist() == pytest.approx(expected, abs=1e-9)


def test_a_patch_of_one_value_is_zero() -> None:
    tokenizer = image_tokenizer()
    normalized = targets_at(Pixels(place(tokenizer)), tokenizer, torch.full((1, 2, 6, 10), 0.25), torch.arange(10)[None])
    assert not normalized.any()


def test_without_normalisation_the_patches_themselves() -> None:
    tokenizer = image_tokenizer()
    target, x, ids = Pixels(place(tokenizer), normalize="none"), torch.randn(2, 2, 6, 10), torch.tensor([[3, 1], [0, 9]])
    expected = torch.stack([row[i] for row, i in zip(tokenizer.patchify(x), ids, strict=True)])
    assert targets_at(target, tokenizer, x, ids).equal(expected)
    assert not target.raw_differs
    pred = torch.randn(2, 10, 12)
    assert target.to_patches(pred, tokenizer.patchify(x)).equal(pred)


def test_perfect_predictions_draw_as_the_sample() -> None:
    tokenizer = image_tokenizer()
    target, x = Pixels(place(tokenizer), normalize="patch"), torch.randn(2, 2, 6, 10)
    assert target.raw_differs
    pred = targets_at(target, tokenizer, x, torch.arange(10).expand(2, -1))
    drawn = tokenizer.unpatchify(target.to_patches(pred, tokenizer.patchify(x)))
    torch.testing.assert_close(drawn, x, rtol=0, atol=1e-5)
    assert target.raw_patches(pred).equal(pred)


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=2, max_size=2))
def test_the_loss_is_the_mean_over_all_patches_that_count(weights: list[list[bool]]) -> None:
    """Over the batch at once: a sample with more patches that count weighs more."""
    if not any(itertools.chain(*weights)):
        return
    generator = torch.Generator().manual_seed(0)
    pred, target = (torch.randn(2, 3, 5, dtype=torch.float64, generator=generator) for _ in range(2))
    expected = statistics.fmean(
        statistics.fmean((a - b) ** 2 for a, b in zip(pred[b, m].tolist(), target[b, m].tolist(), strict=True))
        for b in range(2)
        for m in range(3)
        if weights[b][m]
    )
    pixels = Pixels(place(image_tokenizer()))
    weight = pixels.weight(torch.tensor(weights))
    loss = (weight * pixels.error(pred, target)).sum() / weight.sum()
    assert loss.shape == ()
    assert float(loss) == pytest.approx(expected, rel=1e-12)
