import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mae_audio.tokenizer import SpectrogramPatches
from mae_core.masking import RandomMasker
from mae_registry import ConfigError, MaeError

sides = st.integers(1, 5)


def make(input_size, patch_size, stride=None, **options):
    return SpectrogramPatches(8, input_size=input_size, patch_size=patch_size, stride=stride, **options)


@settings(deadline=None)  # a busy machine
@given(patch=st.tuples(sides, sides), step=st.tuples(sides, sides), more=st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_any_spectrogram_that_patches_cover(patch, step, more):
    stride = tuple(min(s, p) for s, p in zip(step, patch, strict=True))
    size = tuple(p + n * s for p, n, s in zip(patch, more, stride, strict=True))
    tokenizer = make(size, patch, stride)
    x = torch.randn(2, 1, *size)
    patches = tokenizer.patchify(x)
    assert tokenizer.grid.sizes == (more[0] + 1, more[1] + 1)
    assert patches.shape == (2, tokenizer.grid.num_patches, tokenizer.patch_dim)
    assert torch.allclose(tokenizer.unpatchify(patches), x, atol=1e-6)
    kernel = tokenizer.proj.weight.reshape(8, 1, *patch)
    convolved = F.conv2d(x, kernel, tokenizer.proj.bias, stride=stride).flatten(2).transpose(1, 2)
    every = torch.arange(tokenizer.grid.num_patches).expand(2, -1)
    assert torch.allclose(tokenizer.embed(patches, every), convolved, atol=1e-5)


def test_patches_are_numbered_time_major_and_hold_time_by_frequency():
    x = torch.arange(4 * 6.0).reshape(1, 1, 4, 6)
    patches = make((4, 6), (2, 3)).patchify(x)[0]
    assert patches.tolist() == [[0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11], [12, 13, 14, 18, 19, 20], [15, 16, 17, 21, 22, 23]]
    assert make((4, 6), (2, 3)).grid.axes == ("t", "f")


def test_without_overlap_unpatchify_is_exact():
    x = torch.randn(1, 1, 32, 16)
    tokenizer = make((32, 16), (16, 8))
    assert torch.equal(tokenizer.unpatchify(tokenizer.patchify(x)), x)


def test_overlapping_predictions_are_averaged():
    tokenizer = make((6, 2), (4, 2), (2, 2))
    patches = torch.stack([torch.zeros(8), torch.ones(8)])[None]
    assert tokenizer.unpatchify(patches)[0, 0, :, 0].tolist() == [0, 0, 0.5, 0.5, 1, 1]


@pytest.mark.parametrize(("over", "axis"), [(["t"], 1), (["f"], 0)])
def test_time_and_frequency_masking_hide_whole_rows_and_columns(over, axis):
    tokenizer = make((64, 40), (8, 8))
    mask = RandomMasker(ratio=0.6, over=over)(tokenizer.grid, 3, generator=torch.Generator().manual_seed(0))
    hidden = mask.hidden.reshape(3, 8, 5)
    lines = hidden.any(dim=axis + 1)
    assert torch.equal(lines, hidden.all(dim=axis + 1))
    assert lines.sum(1).tolist() == [8 - 3 if over == ["t"] else 5 - 2] * 3


def test_normalisation_is_the_published_one():
    tokenizer = make((16, 16), (16, 16), mean=-6.6268077, std=5.358466)
    x = torch.tensor([[[[0.0, -6.6268077, -15.94]]]])
    found = tokenizer.normalize(x)
    assert torch.allclose(found, (x + 6.6268077) / (2 * 5.358466))
    assert torch.allclose(tokenizer.denormalize(found), x, atol=1e-6)
    assert float(make((16, 16), (16, 16)).normalize(torch.zeros(1))) == pytest.approx(0.467, abs=5e-4)  # AudioSet's padding


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"input_size": (1000, 128), "patch_size": (16, 16)},
            "patches of 16 frames, one every 16, do not cover input_size [1000, 128], which has 1000 frames; use 992 or 1008",
        ),
        (
            {"input_size": (1024, 128), "patch_size": (16, 16), "stride": (10, 10)},
            "patches of 16 frames, one every 10, do not cover input_size [1024, 128], which has 1024 frames; use 1016 or 1026",
        ),
        (
            {"input_size": (16, 8), "patch_size": (16, 16)},
            "patches of 16 mel bins, one every 16, do not cover input_size [16, 8]",
        ),
        (
            {"input_size": (32, 32), "patch_size": (16, 16), "stride": (16, 17)},
            "stride [16, 17] is larger than patch_size [16, 16]: mel bins would go unseen",
        ),
    ],
)
def test_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(ConfigError) as caught:
        SpectrogramPatches(8, **sizes)
    assert str(caught.value).startswith(message)


def test_another_shape_than_the_model_takes():
    with pytest.raises(MaeError, match=r"takes samples of shape \(1, 32, 16\) \(1, frames, mels\).* got \(2, 1, 16, 32\)"):
        make((32, 16), (16, 16)).patchify(torch.zeros(2, 1, 16, 32))
