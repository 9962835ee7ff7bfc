"""Depth, labels and MultiMAE's two predictions of a photograph, each against a slow way of saying it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from places import decoder_place, loss_of, target_place, truth_of
from torch import Tensor, nn

from mae_core import Grid
from mae_core.interfaces import Latent, gather_patches
from mae_core.parts.cross_decoder import CrossDecoder
from mae_core.parts.pixels import Pixels
from mae_image.scenes import Classes, DepthPatches, SemsegPatches
from mae_image.tokenizer import ImagePatches
from mae_image.twin import TwinDecoder, TwinPixels
from mae_registry import ConfigError

B, CLASSES = 3, 7


def labels_tokenizer() -> SemsegPatches:
    """Labels (6, 8), patches of 3 x 2: grid 2 x 4."""
    return SemsegPatches(5, input_size=(24, 32), patch_size=(12, 8), stride=4, num_classes=CLASSES, class_width=3)


def random_labels() -> Tensor:
    return torch.randint(CLASSES, (B, 6, 8), generator=torch.Generator().manual_seed(0))


def test_depth_is_standardised_by_the_central_80_percent_of_each_map() -> None:
    maps = np.random.default_rng(0).lognormal(2, 1, (B, 1, 28, 28)).astype(np.float32)
    maps[:, 0, 0, :10] = 1e6  # outliers must not count
    found = DepthPatches(4, input_size=(28, 28), patch_size=(4, 4)).normalize(torch.from_numpy(maps))
    for one, normalized in zip(maps.astype(np.float64), found, strict=True):
        central = np.sort(one, axis=None)[78:705]  # of 784 values, from the tenth to the ninth part
        expected = (one - central.mean()) / np.sqrt(central.var(ddof=1) + 1e-6)
        np.testing.assert_allclose(normalized.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_depth_in_any_unit_is_the_same() -> None:
    tokenizer = DepthPatches(4, input_size=(8, 8), patch_size=(4, 4))
    metres = torch.rand(B, 1, 8, 8) * 10
    torch.testing.assert_close(tokenizer.normalize(metres * 1000 + 5), tokenizer.normalize(metres), rtol=1e-4, atol=1e-4)
    constant = tokenizer.normalize(torch.full((B, 1, 8, 8), 3, dtype=torch.uint8))
    assert torch.equal(constant, torch.zeros(B, 1, 8, 8))
    assert tokenizer.denormalize(torch.tensor([-3.0, 0.0, 3.0])).tolist() == [0, 0.5, 1]


def test_labels_go_to_patches_and_back() -> None:
    tokenizer, x = labels_tokenizer(), random_labels()
    assert (tokenizer.sample_shape, tokenizer.grid, tokenizer.patch_dim) == ((6, 8), Grid(h=2, w=4), 6)
    patches = tokenizer.patchify(x)
    assert torch.equal(patches[:, 5], x[:, 3:6, 2:4].flatten(1))  # second row, second column
    assert torch.equal(tokenizer.unpatchify(patches), x)
    assert torch.equal(tokenizer.normalize(x.to(torch.uint8)), x)
    assert torch.equal(tokenizer.denormalize(x), x.float())


def test_labels_are_embedded_as_by_an_embedding_and_a_strided_convolution() -> None:
    tokenizer, x = labels_tokenizer(), random_labels()
    conv = nn.Conv2d(3, 5, kernel_size=(3, 2), stride=(3, 2))
    with torch.no_grad():
        nn.init.normal_(tokenizer.proj.bias)
        conv.weight.copy_(tokenizer.proj.weight.reshape(5, 3, 2, 3).permute(0, 3, 1, 2))
        conv.bias.copy_(tokenizer.proj.bias)  # type: ignore[union-attr]
        expected = conv(F.embedding(x, tokenizer.class_embedding.weight).permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        every = torch.arange(8).expand(B, -1)
        torch.testing.assert_close(tokenizer.embed(tokenizer.patchify(x), every), expected)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"stride": 5}, r"input_size \[224, 224\] is not divisible by patch_size \[5, 5\]"),
        ({"patch_size": (18, 16)}, r"input_size \[18, 16\] is not divisible by patch_size \[4, 4\]"),
        ({"patch_size": (12, 16)}, r"input_size \[56, 56\] is not divisible by patch_size \[3, 4\]"),
    ],
)
def test_sizes_that_do_not_fit(sizes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SemsegPatches(4, **sizes)


def test_the_loss_of_classes_is_that_of_every_label_under_the_enlarged_mask() -> None:
    tokenizer, x = labels_tokenizer(), random_labels()
    target, patches = Classes(target_place(tokenizer)), tokenizer.patchify(x)
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(B, CLASSES, 6, 8, generator=generator)
    hidden = torch.rand(B, 2, 4, generator=generator) < 0.5
    hidden[1] = False  # nothing to predict there: not a loss of 0, but none
    every = F.cross_entropy(maps, x, reduction="none")
    large = hidden.repeat_interleave(3, dim=1).repeat_interleave(2, dim=2)
    expected = torch.stack([every[row][large[row]].mean() for row in (0, 2)]).mean()

    pred = torch.stack([tokenizer.patchify(maps[:, c]) for c in range(CLASSES)], dim=2).flatten(2)
    assert pred.shape[-1] == target.dim == 42
    ids = torch.stack([torch.randperm(8, generator=generator) for _ in range(B)])
    truth = truth_of(target, tokenizer, x)
    compared = gather_patches(pred, ids), gather_patches(truth, ids), hidden.flatten(1).gather(1, ids)
    torch.testing.assert_close(loss_of(target, *compared), expected)
    whole = Classes(target_place(tokenizer), reduction="batch")
    torch.testing.assert_close(loss_of(whole, *compared), every[large].mean())
    assert torch.equal(tokenizer.unpatchify(target.to_patches(pred, patches)), maps.argmax(dim=1).float())
    assert not target.raw_differs


def test_a_sample_with_nothing_hidden_gives_no_gradient() -> None:
    tokenizer, x = labels_tokenizer(), random_labels()
    target, patches = Classes(target_place(tokenizer)), tokenizer.patchify(x)
    pred = torch.zeros(B, 8, target.dim, requires_grad=True)
    weight = torch.ones(B, 8, dtype=torch.bool)
    weight[1] = False
    loss_of(target, pred, patches, weight).backward()
    assert pred.grad is not None
    assert pred.grad.isfinite().all()
    assert (pred.grad[1] == 0).all()
    assert (pred.grad[0] != 0).any()


def test_classes_need_labels() -> None:
    with pytest.raises(ConfigError, match="the target 'classes' needs the tokenizer 'semseg_patches', not ImagePatches"):
        Classes(target_place(ImagePatches(4)))


def test_twin_pixels_are_the_sum_of_a_plain_and_a_normalised_loss() -> None:
    tokenizer = ImagePatches(4, input_size=(8, 12), patch_size=(4, 4))
    place, generator = target_place(tokenizer), torch.Generator().manual_seed(0)
    twin = TwinPixels(place)
    x = torch.randn(B, 3, 8, 12, generator=generator)
    patches = tokenizer.patchify(x)
    plain, normalized = torch.randn(2, B, 6, 48, generator=generator)
    weight = torch.rand(B, 6, generator=generator) < 0.5
    found = loss_of(twin, torch.cat([plain, normalized], -1), truth_of(twin, tokenizer, x), weight)
    parts = [
        loss_of(target, pred, truth_of(target, tokenizer, x), weight)
        for pred, target in (
            (plain, Pixels(place, normalize="none", reduction="sample")),
            (normalized, Pixels(place, normalize="patch", reduction="sample")),
        )
    ]
    torch.testing.assert_close(found, parts[0] + parts[1])
    assert twin.dim == 96
    assert torch.equal(twin.to_patches(torch.cat([plain, normalized], -1), patches), plain)
    assert not twin.raw_differs  # the plain half is drawn, which knows nothing of the true patches


def test_the_twin_decoder_is_two_decoders_side_by_side() -> None:
    grids = {"a": Grid(h=2, w=2), "b": Grid(h=1, w=3)}
    torch.manual_seed(0)
    twin = TwinDecoder(decoder_place(grids, entry="b", context_width=6, out_dim=10), width=8, depth=1, heads=2)
    ids, asked = torch.tensor([[0, 2, 4, 6]] * B), torch.tensor([[1, 0]] * B)
    latent = Latent(torch.randn(B, 1 + 4, 6), 1, ids, {"a": (0, 4), "b": (4, 3)}, {"a": 2, "b": 2})
    half_place = decoder_place(grids, entry="b", context_width=6, out_dim=5)
    for everything, num in ((False, 2), (True, 3)):
        found = twin(latent, asked, extras={}, everything=everything)
        assert found.shape == (B, num, 10)
        for half, name in zip(found.chunk(2, -1), ("plain", "normalized"), strict=True):
            alone = CrossDecoder(half_place, width=8, depth=1, heads=2)
            alone.load_state_dict(twin.get_submodule(name).state_dict())
            torch.testing.assert_close(half, alone(latent, asked, extras={}, everything=everything), equal_nan=True)
        assert not torch.allclose(*found[:, :2].chunk(2, -1))
