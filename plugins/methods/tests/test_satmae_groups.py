"""SatMAE's groups of bands: each part keeps its contract, and does with groups what the paper says."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mae_core import Grid, Mask, build_model, load_config
from mae_core.interfaces import Seen, TargetPlace
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.parts.positions import SinCos
from mae_core.testing import check_decoder, check_modality, check_positions, check_target, check_tokenizer
from mae_methods.satmae.bands import GroupedBands
from mae_methods.satmae.decoder import GroupDecoder
from mae_methods.satmae.target import GroupPixels
from mae_registry import ConfigError

BANDS: dict[str, Any] = {
    "name": "satmae_bands",
    "input_size": [8, 12],
    "patch_size": [4, 4],
    "groups": [[3, 0], [1, 4, 5], [2]],
}
IN_ORDER = {**BANDS, "groups": [[0, 1], [2, 3, 4], [5]]}
DECODER = {"name": "satmae_groups", "width": 16, "depth": 1, "heads": 2}
PARTS: dict[str, Any] = {
    "tokenizer": BANDS,
    "positions": {"group_width": 8},
    "decoder": DECODER,
    "decoder_positions": {"group_width": 4},
}


def tokenizer(section: dict[str, Any] = BANDS, *, width: int | None = 24) -> GroupedBands:
    return GroupedBands(width, **{key: value for key, value in section.items() if key != "name"})


def model(**parts: Any) -> MaskedAutoencoder:
    encoder = {"name": "vit", "width": 24, "depth": 1, "heads": 2}
    torch.manual_seed(0)
    return build_model(load_config({"model": {"encoder": encoder, "modalities": {"multispectral": {**PARTS, **parts}}}}))


def loss(built: MaskedAutoencoder, x: Tensor) -> Tensor:
    mask = Mask.from_noise(torch.rand(len(x), 18, generator=torch.Generator().manual_seed(1)), 5)
    return built({"multispectral": x}, masks={"multispectral": mask}).loss


@pytest.mark.parametrize(
    "section",
    [
        BANDS,
        IN_ORDER,
        {**BANDS, "groups": [[0]]},
        {**BANDS, "input_size": [6, 9], "patch_size": [6, 3]},
        {**BANDS, "mean": [0.5] * 6, "std": [0.1] * 6},
    ],
    ids=str,
)
def test_tokenizer(section: dict[str, Any]) -> None:
    check_tokenizer(section)


@pytest.mark.parametrize("class_token", [False, True])
def test_positions(class_token: bool) -> None:
    check_positions({"name": "satmae_groups", "group_width": 8, "class_token": class_token}, grid=Grid(g=3, h=2, w=3))


def test_decoder() -> None:
    check_decoder(DECODER, tokenizer=BANDS)


@pytest.mark.parametrize("heads", ["own", "published"])
@pytest.mark.parametrize("normalize", ["none", "place"])
def test_target(heads: str, normalize: str) -> None:
    check_target({"name": "satmae_pixels", "heads": heads, "normalize": normalize}, tokenizer=BANDS)


def test_modality() -> None:
    check_modality("multispectral", PARTS)


def test_a_patch_holds_the_bands_of_its_group_one_after_the_other() -> None:
    built, x = tokenizer(), torch.rand(2, 6, 8, 12)
    patches = built.patchify(x).reshape(2, 3, 6, 3, 16)  # groups, places, bands, pixels
    place = x[:, :, 4:8, 8:12].flatten(2)  # the last of 2 x 3 places
    assert torch.equal(patches[:, 0, 5, :2], place[:, [3, 0]])
    assert torch.equal(patches[:, 1, 5], place[:, [1, 4, 5]])
    assert torch.equal(patches[:, 2, 5, 0], place[:, 2])
    assert not patches[:, 2, :, 1:].any()
    assert not patches[:, 0, :, 2].any()


def test_a_token_is_embedded_by_its_group() -> None:
    built = tokenizer()
    assert built.proj is not None
    patches, ids = built.patchify(torch.rand(2, 6, 8, 12)), torch.tensor([[17, 0, 8], [6, 5, 12]])
    kept = patches.gather(1, ids.unsqueeze(-1).expand(-1, -1, built.patch_dim))
    tokens = built.embed(kept, ids)
    for row, column in [(row, column) for row in range(2) for column in range(3)]:
        linear = built.proj.linears()[int(ids[row, column]) // 6]
        expected = linear(kept[row, column, : linear.in_features])
        torch.testing.assert_close(tokens[row, column], expected)


def test_each_group_has_an_embedding_and_a_head_of_its_size() -> None:
    built = model()
    decoder = built.parts("multispectral").decoder
    assert isinstance(decoder, GroupDecoder)
    assert [(linear.in_features, linear.out_features) for linear in decoder.head.linears()] == [(16, 32), (16, 48), (16, 16)]


def test_fresh_weights_are_xavier_uniform_for_each_group() -> None:
    built = tokenizer({**BANDS, "input_size": [32, 32], "patch_size": [16, 16]}, width=200)
    assert built.proj is not None
    for linear in built.proj.linears():
        bound = math.sqrt(6 / (linear.in_features + linear.out_features))
        assert 0.98 * bound < float(linear.weight.detach().abs().max()) <= bound
        assert float(linear.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)
        assert not linear.bias.any()


def test_published_heads_are_mixed_only_where_groups_are_out_of_order() -> None:
    x = torch.randn(2, 6, 8, 12)
    mixed, own = (loss(model(target={"heads": heads}), x) for heads in ("published", "own"))
    assert abs(float((mixed - own).detach())) > 1e-3
    mixed, own = (loss(model(tokenizer=IN_ORDER, target={"heads": heads}), x) for heads in ("published", "own"))
    torch.testing.assert_close(mixed, own)


def test_what_fills_a_patch_up_is_not_in_the_error() -> None:
    built = tokenizer()
    place = TargetPlace("bands", built, 24, 1, lambda width: SinCos(built.grid, width))
    target = GroupPixels(place, heads="own")
    pred, truth = torch.rand(2, 18, 48), torch.rand(2, 18, 48)
    filled = torch.zeros(18, 48, dtype=torch.bool)
    filled[:6, 32:] = True  # the group of two bands
    filled[12:, 16:] = True  # of one
    torch.testing.assert_close(target.error(pred, truth), target.error(pred.masked_fill(filled, 9.0), truth))
    assert not torch.allclose(target.error(pred, truth), target.error(pred.masked_fill(~filled, 9.0), truth))


def test_a_place_is_normalised_over_all_its_bands() -> None:
    built = tokenizer()
    place = TargetPlace("bands", built, 24, 1, lambda width: SinCos(built.grid, width))
    x = 3 + 2 * torch.randn(2, 6, 8, 12)
    patches = built.patchify(x)
    truth = GroupPixels(place, normalize="place").prepare(Seen("bands", x, patches, {}, None))
    normalized = built.unpatchify(truth).unfold(2, 4, 4).unfold(3, 4, 4).transpose(1, 2).transpose(2, 3).flatten(3)
    torch.testing.assert_close(normalized.mean(-1), torch.zeros(2, 2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalized.var(-1), torch.ones(2, 2, 3), atol=1e-4, rtol=0)


def test_pictures_show_each_band_where_it_belongs() -> None:
    built = tokenizer()
    place = TargetPlace("bands", built, 24, 1, lambda width: SinCos(built.grid, width))
    x = torch.rand(2, 6, 8, 12)
    patches = built.patchify(x)
    target = GroupPixels(place, heads="published")
    # what the heads would have to predict for a loss of zero: the n-th output of all heads is band n
    outputs = torch.zeros_like(patches).reshape(2, 3, 6, 3, 16)
    places = x.unfold(2, 4, 4).unfold(3, 4, 4).flatten(2, 3).flatten(3)
    outputs[:, 0, :, :2] = places[:, [0, 1]].transpose(1, 2)
    outputs[:, 1] = places[:, [2, 3, 4]].transpose(1, 2)
    outputs[:, 2, :, :1] = places[:, [5]].transpose(1, 2)
    pred = outputs.reshape(2, 18, 48)
    assert not target.error(pred, patches).any()
    torch.testing.assert_close(built.unpatchify(target.to_patches(pred, patches)), x)


def test_all_groups_may_be_hidden_alike() -> None:
    masker = model(masker={"over": ["h", "w"]}).parts("multispectral").masker
    mask = masker(Grid(g=3, h=2, w=3), 4, generator=torch.Generator().manual_seed(0))
    assert isinstance(mask, Mask)
    hidden = mask.hidden.reshape(4, 3, 6)
    assert torch.equal(hidden, hidden[:, :1].expand_as(hidden))


@pytest.mark.parametrize("groups", [[[0, 1], [1, 2]], [[0], [2]], [[1, 2]]])
def test_every_band_is_in_exactly_one_group(groups: list[list[int]]) -> None:
    with pytest.raises(ConfigError, match="every band from 0 on must be in exactly one group"):
        model(tokenizer={**BANDS, "groups": groups})


@pytest.mark.parametrize("part", ["decoder", "target"])
def test_parts_of_groups_need_the_tokenizer_of_groups(part: str) -> None:
    plain = {"tokenizer": {"name": "image_patches", "input_size": [8, 8], "patch_size": [4, 4]}, "positions": "sincos"}
    others = {"decoder": {"name": "vit", **{key: DECODER[key] for key in ("width", "depth", "heads")}}, "target": "pixels"}
    parts = {**plain, **others, "decoder_positions": "sincos", part: PARTS.get(part, "satmae_pixels")}
    with pytest.raises(ConfigError, match=rf"model\.modalities\.multispectral\.{part}.*needs the tokenizer satmae_bands"):
        model(**parts)
