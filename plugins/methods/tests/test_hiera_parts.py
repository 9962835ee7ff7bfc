"""Hiera's parts: mask units, the encoder without and with masks, the target."""

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from timm.models.hiera import Hiera

from mae_core import Grid, Mask, build_model, import_state_dict, load_config
from mae_core.interfaces import Seen
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.backbone import Backbone
from mae_core.model.maps import feature_map
from mae_core.testing import check_encoder, check_target
from mae_methods.hiera.blocks import pool
from mae_methods.hiera.encoder import HieraEncoder, make_convolution
from mae_methods.hiera.sizes import TokenSizes
from mae_methods.hiera.units import MaskUnits
from mae_registry import ConfigError, MaeError

ENCODER = {"name": "hiera", "width": 8, "depths": [1, 2, 1, 1], "heads": 1}
IMAGES = {"name": "image_patches", "input_size": [64, 96], "patch_size": [16, 16]}
CLIPS = {"name": "tubelets", "input_size": [4, 64, 64], "patch_size": [2, 16, 16]}
OF_CLIPS = {**ENCODER, "kernel": [3, 7, 7], "stride": [2, 4, 4], "mask_unit": [1, 8, 8], "separable_positions": True}


def build(*overrides: str, **tokenizer: Any) -> MaskedAutoencoder:
    parts = {"tokenizer": {**IMAGES, **tokenizer}, "decoder": {"width": 16, "depth": 1, "heads": 2}}
    sections = {"encoder": ENCODER, "modalities": {"image": parts}}
    torch.manual_seed(0)
    return build_model(load_config({"extends": "methods/hiera_base", "model": sections}, list(overrides)))


# ---- mask units


@given(
    st.sampled_from([(1, 1), (2, 2), (1, 2), (2, 1)]),
    st.integers(0, 2),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_pooling_within_units_is_max_pooling_of_the_sample(
    strides: tuple[int, int], levels: int, unit_patches: tuple[int, int], num_units: tuple[int, int]
) -> None:
    levels = 0 if strides == (1, 1) else levels
    patch = tuple(stride**levels for stride in strides)
    unit = tuple(side * number for side, number in zip(patch, unit_patches, strict=True))
    sample = tuple(side * number for side, number in zip(unit, num_units, strict=True))
    units = MaskUnits(TokenSizes(sample, patch, unit, levels))
    x = torch.randn(2, 3, *sample)
    every = torch.arange(len(units.patches_of)).expand(2, -1)
    pooled = units.take_tokens(x.flatten(2).transpose(1, 2), every)
    for level in range(levels + 1):
        grid = [size // stride**levels for size, stride in zip(sample, strides, strict=True)]
        ids = torch.arange(grid[0] * grid[1]).expand(2, -1)
        by_patch = units.take_patches(units.by_patch(pooled), every, ids)
        finer = by_patch.reshape(2, *grid, *(stride ** (levels - level) for stride in strides), 3)
        expected = F.max_pool2d(x, tuple(stride**level for stride in strides))
        assert torch.equal(finer.permute(0, 5, 1, 3, 2, 4).reshape(expected.shape), expected)
        if level < levels:
            pooled = pool(pooled, strides[0] * strides[1])


# ---- the encoder


@pytest.mark.parametrize(("section", "tokenizer"), [(ENCODER, IMAGES), (OF_CLIPS, CLIPS)])
def test_the_encoder_keeps_the_contract(section: dict[str, Any], tokenizer: dict[str, Any]) -> None:
    check_encoder(section, tokenizer=tokenizer, num_keep=12 if tokenizer is IMAGES else 16)


def test_the_latent_follows_the_order_of_the_ids() -> None:
    model = build().eval()
    (mask,) = model.draw_masks(["image"], 2, generator=torch.Generator().manual_seed(1)).values()
    assert isinstance(mask, Mask)
    turned = Mask(mask.ids_keep.flip(1), mask.hidden, mask.queries)
    x, layers = torch.randn(2, 3, 64, 96), [0, 1, 2, 3, 4]
    with torch.no_grad():
        given, other = (model.backbone.encode({"image": x}, masks={"image": each}, layers=layers) for each in (mask, turned))
    assert torch.equal(other.ids, given.ids.flip(1))
    assert torch.equal(other.tokens, given.tokens.flip(1))
    assert [tuple(given.layers[layer].shape[2:]) for layer in layers] == [(4, 4, 8), (4, 4, 8), (2, 2, 16), (32,), (64,)]
    assert all(torch.equal(other.layers[layer], given.layers[layer].flip(1)) for layer in layers)


def oracle_and_backbone(patch_size: int) -> tuple[Hiera, Backbone]:
    """timm's Hiera with random weights, and ours with the same."""
    torch.manual_seed(0)
    peer = Hiera((64, 96), embed_dim=8, stages=(1, 2, 1, 1), q_pool=patch_size.bit_length() - 3, num_classes=0).eval()
    backbone = build(
        "model.encoder.fusion=false", f"model.modalities.image.masker.unit={32 // patch_size}", patch_size=[patch_size] * 2
    ).backbone.eval()
    weights = {name: value + 0.05 * torch.randn_like(value) for name, value in peer.state_dict().items()}
    peer.load_state_dict(weights)
    norm = {f"encoder_norm.{kind}": weights.pop(f"head.norm.{kind}") for kind in ("weight", "bias")}
    import_state_dict(backbone, weights | norm, layout="hiera")
    return peer, backbone


@pytest.mark.parametrize("patch_size", [16, 32])
def test_features_of_whole_images_are_those_of_another_implementation(patch_size: int) -> None:
    peer, backbone = oracle_and_backbone(patch_size)
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = peer.forward_intermediates(x, intermediates_only=True)
        latent = backbone.encode({"image": x}, layers=[1, 2, 3, 4])
    grid = backbone.input("image").tokenizer.grid
    for layer, features in enumerate(expected, start=1):
        found = feature_map(latent, grid, layer=layer)
        assert found.shape == features.shape
        assert torch.allclose(found, features, atol=2e-5)
    assert [features.shape[-1] for features in expected] == [24, 12, 6, 6 if patch_size == 16 else 3]
    norm = backbone.encoder.norm(expected[-1].flatten(2).transpose(1, 2))
    assert torch.allclose(latent.tokens, norm, atol=2e-5)


def test_a_map_needs_whole_samples() -> None:
    model = build()
    masks = {"image": Mask.from_hidden((torch.arange(24) >= 12).expand(1, -1))}
    latent = model.backbone.encode({"image": torch.randn(1, 3, 64, 96)}, masks=masks, layers=[1])
    with pytest.raises(MaeError, match="all 24 patches of the grid h=4 w=6; this latent has 12"):
        feature_map(latent, Grid(h=4, w=6), layer=1)


def test_masks_of_parts_of_units_are_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"^model\.modalities\.image\.masker .*unit: \[2, 2\]\}$"):
        build("model.modalities.image.masker.unit=1")
    part = torch.zeros(1, 24, dtype=torch.bool)
    part[0, 0] = True
    with pytest.raises(ConfigError, match="a part of a mask unit"):
        build().backbone.encode({"image": torch.randn(1, 3, 64, 96)}, masks={"image": Mask.from_hidden(part)})


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("model.encoder.kernel=[7, 8]", "kernel is [7, 8]; it needs 2 odd numbers"),
        ("model.encoder.stride=[4, 4, 4]", "stride is [4, 4, 4]; it needs 2 numbers, for h, w"),
        ("model.encoder.stride=[3, 4]", "stride [3, 4] does not divide the tokenizer's patches, [16, 16]"),
        ("model.encoder.stride=[8, 4]", "a power of 2 that is the same for all other axes"),
        ("model.encoder.mask_unit=[6, 8]", "must be whole patches of [4, 4] tokens"),
        ("model.encoder.mask_unit=[8, 16]", "divide a sample of [16, 24]"),
        ("model.encoder.depths=[1, 1]", "needs at least 3 stages; depths has 2"),
        ("model.encoder.heads=3", "width 8 is not divisible by heads 3"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(override: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model\.encoder .*{re.escape(problem)}"):
        build(override)


def test_layers_of_all_stages_learn_at_rates_of_their_own() -> None:
    encoder = build().backbone.encoder
    assert encoder.num_blocks == 5
    assert [encoder.layer_of(name) for name in ("embed.weight", "positions.table")] == [0, 0]
    assert encoder.layer_of("blocks.4.mlp.fc1.weight") == 5
    after = {name.partition(".")[0] for name, _ in encoder.named_parameters() if encoder.layer_of(name) is None}
    assert after == {"fusion", "norm"}


def test_weights_start_as_published() -> None:
    encoder = build("model.encoder.width=64").backbone.encoder
    assert isinstance(encoder, HieraEncoder)
    for weight, bound in [
        (encoder.blocks[0].attn.qkv.weight, (6 / (64 + 192)) ** 0.5),  # Xavier's
        (encoder.embed.weight, (6 / (64 + 3 * 49)) ** 0.5),
        (encoder.fusion[0].weight, (16 * 64) ** -0.5),  # a convolution's own
        (encoder.fusion[0].bias, (16 * 64) ** -0.5),
    ]:
        assert 0.98 < float(weight.detach().abs().max()) / bound <= 1
    assert not bool(encoder.blocks[0].attn.qkv.bias.any())
    assert float(encoder.positions.table.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert bool(make_convolution(3, 8, kernel=[7, 7], stride=[4, 4]).bias.any())


def test_a_step_reaches_every_weight() -> None:
    model = build()
    model({"image": torch.randn(2, 3, 64, 96)}, generator=torch.Generator().manual_seed(0)).loss.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


# ---- the target


def test_the_targets_keep_the_contract() -> None:
    check_target({"name": "hiera_pixels"}, tokenizer=IMAGES)
    check_target({"name": "hiera_pixels", "channels": "last", "first_of": "t", "normalize": "none"}, tokenizer=CLIPS)


def test_pixels_of_images_are_ordered_by_channel_first() -> None:
    parts = build("model.modalities.image.target.normalize=none").parts("image")
    x = torch.randn(1, 3, 64, 96)
    truth = parts.target.prepare(Seen("image", x, parts.tokenizer.patchify(x), {}, None))
    assert torch.equal(truth[0, 7].reshape(3, 16, 16), x[0, :, 16:32, 16:32])
    assert torch.equal(parts.target.to_patches(truth, torch.zeros_like(truth)), parts.tokenizer.patchify(x))


def test_of_videos_the_first_frame_of_each_patch_is_predicted() -> None:
    sections = {"encoder": {**OF_CLIPS}, "modalities": {"video": {"tokenizer": CLIPS, "masker": {"ratio": 0.5}}}}
    model = build_model(load_config({"extends": "methods/hiera_video_base", "model": sections}))
    parts, x = model.parts("video"), torch.randn(1, 3, 4, 64, 64)
    patches = parts.tokenizer.patchify(x)
    truth = parts.target.prepare(Seen("video", x, patches, {}, None))
    shown = parts.tokenizer.unpatchify(parts.target.to_patches(truth, patches))
    assert truth.shape == (1, 32, 768)
    assert torch.allclose(shown[:, :, ::2], x[:, :, ::2], atol=1e-5)
    assert bool(shown[:, :, 1::2].isnan().all())
    raw = parts.tokenizer.unpatchify(parts.target.raw_patches(truth))
    last = raw[0, :, 2, 48:, 48:].permute(1, 2, 0)
    assert torch.equal(truth[0, 31].reshape(16, 16, 3), last)


def test_an_axis_that_the_grid_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model\.modalities\.image\.target .*first_of is 't'; the grid has the axes h, w$"):
        build("model.modalities.image.target.first_of=t")
