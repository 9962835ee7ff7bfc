from collections.abc import Mapping
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

import mae_core
from mae_core import Mask
from mae_core.interfaces import Latent, Seen
from mae_core.model.autoencoder import MaskedAutoencoder, Parts
from mae_core.parts.blocks import LayerNorm
from mae_registry import MaeError

WIDTH, HEADS = 16, 2
RECIPE: dict[str, Any] = {
    "model": {
        "encoder": {"name": "vit", "width": WIDTH, "depth": 2, "heads": HEADS},
        "modalities": {
            "image": {
                "tokenizer": {"input_size": [12, 16], "patch_size": [4, 4]},  # N = 12, P = 48
                "decoder": {"width": 8, "depth": 2, "heads": 2},
            }
        },
    }
}
TOKENIZER = "model.modalities.image.tokenizer"


def make_model(*overrides: str, recipe: Mapping[str, Any] = RECIPE) -> MaskedAutoencoder:
    """Small, with weights that hide nothing: fresh biases are 0 and fresh norms 1."""
    model = mae_core.build_model(mae_core.load_config(recipe, overrides))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def samples(model: MaskedAutoencoder, batch_size: int = 3, seed: int = 0) -> dict[str, Tensor]:
    shape = model.parts("image").tokenizer.sample_shape
    return {"image": torch.randn(batch_size, *shape, generator=torch.Generator().manual_seed(seed))}


def random_mask(batch_size: int = 3, num_patches: int = 12, num_keep: int = 4) -> Mask:
    return Mask.from_noise(torch.rand(batch_size, num_patches, generator=torch.Generator().manual_seed(2)), num_keep)


def prepared(parts: Parts, x: Tensor) -> Tensor:
    """What the target makes of whole samples."""
    return parts.target.prepare(Seen("image", x, parts.tokenizer.patchify(x), {}, None))


def rows(x: Tensor, ids: Tensor) -> Tensor:
    return torch.stack([row[i] for row, i in zip(x, ids, strict=True)])


def full_blocks(model: MaskedAutoencoder, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """The encoder's weights in timm's own blocks."""
    for block in model.backbone.encoder.get_submodule("blocks").children():
        full = Block(WIDTH, HEADS, qkv_bias=True, norm_layer=LayerNorm)
        full.load_state_dict(block.state_dict())
        x = full(x, attn_mask=attn_mask)
    return model.backbone.encoder.get_submodule("norm")(x)


def all_tokens(model: MaskedAutoencoder, x: Tensor) -> Tensor:
    """Class token and every embedded patch with its position."""
    parts, every = model.parts("image"), torch.arange(12).expand(len(x), -1)
    tokens = parts.tokenizer.embed(parts.tokenizer.patchify(x), every) + parts.positions(every)
    return torch.cat([model.backbone.encoder.get_parameter("cls_token").expand(len(x), -1, -1), tokens], dim=1)


def with_hidden_pixels_changed(model: MaskedAutoencoder, x: Tensor, mask: Mask) -> Tensor:
    tokenizer = model.parts("image").tokenizer
    patches = tokenizer.patchify(x)
    return tokenizer.unpatchify(torch.where(mask.hidden.unsqueeze(-1), patches + 5, patches))


def test_the_sparse_encoder_equals_a_dense_one_that_attends_to_the_visible_only() -> None:
    model, mask = make_model(), random_mask()
    x = samples(model)["image"]
    seen = torch.cat([torch.ones(3, 1, dtype=torch.bool), ~mask.hidden], dim=1)
    dense = full_blocks(model, all_tokens(model, x), attn_mask=seen[:, None, None, :])
    sparse = model.backbone.encode({"image": x}, masks={"image": mask}).x
    torch.testing.assert_close(sparse[:, :1], dense[:, :1], rtol=0, atol=2e-6)
    torch.testing.assert_close(sparse[:, 1:], rows(dense[:, 1:], mask.ids_keep), rtol=0, atol=2e-6)


@pytest.mark.parametrize("mask_tokens", ["true", "false"])
def test_predictions_know_nothing_of_hidden_patches(mask_tokens: str) -> None:
    model, mask = make_model(f"model.encoder.mask_tokens={mask_tokens}"), random_mask()
    x = samples(model)["image"]
    out, other = (model({"image": v}, masks={"image": mask}) for v in (x, with_hidden_pixels_changed(model, x, mask)))
    assert out.pred["image"].equal(other.pred["image"])
    kept = Mask.from_hidden(~mask.hidden)
    seen = model({"image": with_hidden_pixels_changed(model, x, kept)}, masks={"image": mask})
    assert not seen.pred["image"].equal(out.pred["image"])


def test_mask_tokens_inside_the_encoder_are_one_switch() -> None:
    model = make_model("model.encoder.mask_tokens=true")
    mask, x = random_mask(), samples(model)["image"]
    parts = model.parts("image")
    assert parts.decoder.get_parameter("embed.weight") is not None
    assert "modalities.image.decoder.mask_token" not in model.state_dict()
    out = model({"image": x}, masks={"image": mask}, predict="all")
    mask_token, every = model.backbone.encoder.get_parameter("mask_token"), torch.arange(12).expand(3, -1)
    embedded = parts.tokenizer.embed(parts.tokenizer.patchify(x), every)
    tokens = torch.where(mask.hidden[..., None], mask_token, embedded) + parts.positions(every)
    cls_token = model.backbone.encoder.get_parameter("cls_token").expand(3, -1, -1)
    latent = full_blocks(model, torch.cat([cls_token, tokens], dim=1))
    latent = Latent(latent, 1, every, {"image": (0, 12)}, {"image": 12})
    expected = parts.decoder(latent, mask.ids_predict, extras={}, everything=True)
    torch.testing.assert_close(out.pred["image"], expected, rtol=0, atol=2e-6)
    out.loss.backward()
    assert mask_token.grad is not None
    assert mask_token.grad.abs().sum() > 0


@pytest.mark.parametrize("mask_tokens", ["true", "false"])
def test_predicting_all_agrees_with_predicting_the_masked(mask_tokens: str) -> None:
    model, mask = make_model(f"model.encoder.mask_tokens={mask_tokens}"), random_mask()
    masked, both = (model(samples(model), masks={"image": mask}, predict=predict) for predict in ("masked", "all"))
    assert masked.pred["image"].shape == (3, 8, 48)
    assert both.pred["image"].shape == (3, 12, 48)
    torch.testing.assert_close(rows(both.pred["image"], mask.ids_predict), masked.pred["image"], rtol=0, atol=2e-6)
    torch.testing.assert_close(both.loss, masked.loss)
    assert masked.loss.shape == ()


def test_kept_patches_are_predicted_from_their_own_context_tokens() -> None:
    model, mask = make_model(), random_mask()
    both = model(samples(model), masks={"image": mask}, predict="all").pred["image"]
    latent = model.backbone.encode(samples(model), masks={"image": mask})
    decoder, nothing = model.parts("image").decoder, torch.zeros(3, 0, dtype=torch.int64)
    swapped = decoder(latent, mask.ids_predict.flip(1), extras={}, everything=True)
    torch.testing.assert_close(swapped, both, rtol=0, atol=2e-6)
    assert decoder(latent, nothing, extras={}, everything=True).isnan().all(2).equal(mask.hidden)


@pytest.mark.parametrize("predict", ["masked", "all"])
def test_only_predictions_of_hidden_patches_count(predict: str) -> None:
    """Three hidden patches and two kept ones are predicted; four are neither kept nor predicted."""
    model = make_model()
    full = random_mask(num_keep=5)
    ids_predict = torch.cat([full.ids_predict[:, :3], full.ids_keep[:, :2]], dim=1)
    mask = full.asking(ids_predict)
    x = samples(model)["image"]
    out = model({"image": x}, masks={"image": mask}, predict=predict)
    pred = out.pred["image"] if predict == "masked" else rows(out.pred["image"], ids_predict)
    torch.testing.assert_close(pred, model({"image": x}, masks={"image": mask}).pred["image"], rtol=0, atol=2e-6)
    parts = model.parts("image")
    target = rows(prepared(parts, x), ids_predict)
    expected = (pred - target)[:, :3].square().mean()
    torch.testing.assert_close(out.loss, expected)
    if predict == "all":
        neither = torch.ones(3, 12, dtype=torch.bool).scatter(1, torch.cat([full.ids_keep, ids_predict], 1), False)
        assert out.pred["image"].isnan().all(2).equal(neither)


def test_all_and_masked_agree_on_a_permutation_of_every_patch() -> None:
    """An encoder over all tokens, all of them predicted, not in raster order."""
    model, full = make_model("model.encoder.mask_tokens=true"), random_mask()
    mask = full.asking(torch.cat([full.ids_predict, full.ids_keep], dim=1))
    masked, both = (model(samples(model), masks={"image": mask}, predict=predict) for predict in ("masked", "all"))
    torch.testing.assert_close(rows(both.pred["image"], mask.ids_predict), masked.pred["image"], rtol=0, atol=2e-6)
    torch.testing.assert_close(both.loss, masked.loss)


@pytest.mark.parametrize("predict", ["masked", "all"])
def test_ragged_masks_count_each_hidden_patch_once(predict: str) -> None:
    model = make_model("model.encoder.mask_tokens=true")
    hidden = torch.arange(12) < torch.tensor([2, 5, 9])[:, None]
    x = samples(model)["image"]
    out = model({"image": x}, masks={"image": Mask.from_hidden(hidden, ragged=True)}, predict=predict)
    parts = model.parts("image")
    target = prepared(parts, x)
    torch.testing.assert_close(out.loss, (out.pred["image"] - target)[hidden].square().mean())


def test_ragged_masks_need_an_encoder_over_all_tokens() -> None:
    hidden = torch.arange(12) < torch.tensor([2, 5, 9])[:, None]
    model = make_model()
    message = r"the masker of 'image' hides a different number of patches in each sample.*model\.encoder\.mask_tokens=true"
    with pytest.raises(MaeError, match=message):
        model(samples(model), masks={"image": Mask.from_hidden(hidden, ragged=True)})


def test_encoding_hides_nothing() -> None:
    model = make_model()
    x = samples(model)["image"]
    latent = model.backbone.encode({"image": x}).x
    assert latent.shape == (3, 13, WIDTH)
    torch.testing.assert_close(latent, full_blocks(model, all_tokens(model, x)), rtol=0, atol=2e-6)


def test_masks_drawn_with_a_generator_are_those_given() -> None:
    model = make_model()
    drawn = model(samples(model), generator=torch.Generator().manual_seed(5))
    masks = model.draw_masks(["image"], 3, generator=torch.Generator().manual_seed(5))
    given = model(samples(model), masks=masks)
    assert drawn.mask["image"].hidden.equal(given.mask["image"].hidden)
    assert drawn.loss.equal(given.loss)
    assert drawn.pred["image"].equal(given.pred["image"])


def test_without_a_generator_torchs_own_draws() -> None:
    model = make_model()
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(float(model(samples(model)).loss.detach()))
    assert losses[0] == losses[1] != losses[2]


def test_an_encoder_without_a_class_token() -> None:
    model = make_model("model.encoder.class_token=false")
    assert model.backbone.encoder.num_prefix_tokens == 0
    assert model.backbone.encode(samples(model)).tokens.shape == (3, 12, WIDTH)
    assert model(samples(model), generator=torch.Generator().manual_seed(0)).pred["image"].shape == (3, 9, 48)


@pytest.mark.parametrize("decoder_class_token", ["keep", "drop", "own"])
def test_every_weight_is_trained(decoder_class_token: str) -> None:
    model = make_model(f"model.modalities.image.decoder.class_token={decoder_class_token}")
    model(samples(model), generator=torch.Generator().manual_seed(0)).loss.backward()
    idle = {name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()}
    assert idle == set()


@pytest.mark.parametrize(
    ("channels", "size", "patch"), [(1, [16, 16], [4, 4]), (4, [8, 24], [4, 8]), (13, [16, 8], [8, 4]), (3, [21, 10], [7, 5])]
)
def test_other_shapes_of_input(channels: int, size: list[int], patch: list[int]) -> None:
    constants = [f"{TOKENIZER}.{name}={[0.5] * channels}" for name in ("mean", "std")]
    sizes = [f"{TOKENIZER}.channels={channels}", f"{TOKENIZER}.input_size={size}", f"{TOKENIZER}.patch_size={patch}"]
    model = make_model(*sizes, *constants, "model.modalities.image.masker.ratio=0.5")
    num_patches = size[0] * size[1] // (patch[0] * patch[1])
    out = model(samples(model), generator=torch.Generator().manual_seed(0), predict="all")
    assert out.pred["image"].shape == (3, num_patches, channels * patch[0] * patch[1])
    assert out.loss.isfinite()


def two_modalities() -> MaskedAutoencoder:
    """The second: one channel, another grid."""
    second = {
        "type": "image",
        "tokenizer": {"input_size": [8, 8], "patch_size": [4, 4], "channels": 1, "mean": [0.5], "std": [0.5]},
        "decoder": {"width": 8, "depth": 2, "heads": 2},
    }
    return make_model(recipe={"model": {**RECIPE["model"], "modalities": {**RECIPE["model"]["modalities"], "other": second}}})


def test_two_modalities_share_one_encoder_and_losses_add() -> None:
    model = two_modalities()
    x = {"image": samples(model)["image"], "other": torch.randn(3, 1, 8, 8)}
    masks = {"image": random_mask(), "other": random_mask(num_patches=4, num_keep=2)}
    out = model(x, masks=masks)
    assert {name: pred.shape for name, pred in out.pred.items()} == {"image": (3, 8, 48), "other": (3, 2, 16)}
    torch.testing.assert_close(out.loss, out.losses["image"] + out.losses["other"])

    tokens = [model.backbone.encoder.get_parameter("cls_token").expand(3, -1, -1)]
    for name, mask in masks.items():
        parts = model.parts(name)
        kept = rows(parts.tokenizer.patchify(x[name]), mask.ids_keep)
        tokens.append(parts.tokenizer.embed(kept, mask.ids_keep) + parts.positions(mask.ids_keep))
    latent = full_blocks(model, torch.cat(tokens, dim=1))  # class token, 4 of image, 2 of other
    own = {"image": latent[:, :5], "other": torch.cat([latent[:, :1], latent[:, 5:]], dim=1)}
    for name, mask in masks.items():
        num_keep, num_patches = mask.num_keep, mask.hidden.shape[1]
        alone = Latent(own[name], 1, mask.ids_keep, {name: (0, num_patches)}, {name: num_keep})
        expected = model.parts(name).decoder(alone, mask.ids_predict, extras={})
        torch.testing.assert_close(out.pred[name], expected, rtol=0, atol=2e-6)


def test_one_of_two_modalities_is_encoded_alone() -> None:
    model = two_modalities()
    alone = make_model()
    alone.load_state_dict({name: x for name, x in model.state_dict().items() if ".other." not in name})
    masks = {"image": random_mask()}
    assert model(samples(model), masks=masks).loss.equal(alone(samples(alone), masks=masks).loss)
    assert (
        not model(samples(model) | {"other": torch.randn(3, 1, 8, 8)}, generator=torch.Generator())
        .losses["image"]
        .equal(alone(samples(alone), generator=torch.Generator()).loss)
    )


def test_an_unknown_modality_names_the_nearest() -> None:
    with pytest.raises(MaeError, match=r"^this model has no modality 'imago'\. Did you mean 'image'\? Known: image\.$"):
        make_model()({"imago": torch.zeros(1, 3, 12, 16)})


def test_the_model_is_an_ordinary_module() -> None:
    model = make_model()
    assert isinstance(model, nn.Module)
    copy = make_model()
    copy.load_state_dict(model.state_dict(), strict=True)
    a, b = (m.double()({"image": samples(m)["image"].double()}, masks={"image": random_mask()}) for m in (model, copy))
    assert a.loss.dtype == torch.float64
    assert a.loss.equal(b.loss)


def test_a_mask_of_another_batch_or_grid_is_refused() -> None:
    model = make_model()
    for hidden in (torch.zeros(2, 12, dtype=torch.bool), torch.zeros(3, 9, dtype=torch.bool)):
        hidden[:, 0] = True
        with pytest.raises(MaeError, match=r"the mask of 'image' is for .* \(samples, patches\); the samples give \(3, 12\)"):
            model(samples(model), masks={"image": Mask.from_hidden(hidden)})


def test_weights_start_as_published() -> None:
    """Xavier-uniform matrices, the patch embedding's and the fused qkv's included; zero biases but the patch embedding's."""
    torch.manual_seed(0)
    model = mae_core.build_model(
        mae_core.load_config("image/mae_vit_base", ["model.encoder.depth=1", "model.modalities.image.decoder.depth=1"])
    )
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            bound = (6 / sum(parameter.shape)) ** 0.5
            assert 0.999 * bound < float(parameter.detach().abs().max()) <= bound, name
        elif name.endswith("token"):
            assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.15), name
        elif name.endswith("bias") and "tokenizer" not in name:
            assert not parameter.detach().any(), name
        elif name.endswith("weight"):
            assert bool((parameter == 1).all()), name
