from functools import partial

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import mae_core
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_registry import MaeError

WIDTH = 16
RECIPE = {
    "model": {
        "encoder": {"name": "vit", "width": WIDTH, "depth": 2, "heads": 2},
        "modalities": {
            "image": {
                "tokenizer": {"input_size": [12, 20], "patch_size": [4, 5]},  # grid 3 x 4
                "decoder": {"width": 8, "depth": 2, "heads": 2},
            }
        },
    }
}
LEARNED = "model.modalities.image.positions=learned"
BLOCK_PARTS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


def make_model(*overrides: str, seed: int = 1) -> MaskedAutoencoder:
    model = mae_core.build_model(mae_core.load_config(RECIPE, overrides))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def timm_vit() -> VisionTransformer:
    norm = partial(nn.LayerNorm, eps=1e-6)
    sizes = {"img_size": (12, 20), "patch_size": (4, 5), "embed_dim": WIDTH, "depth": 2, "num_heads": 2}
    return VisionTransformer(**sizes, norm_layer=norm, num_classes=0, global_pool="").eval()  # type: ignore[arg-type]


def images() -> Tensor:
    return torch.randn(2, 3, 12, 20, generator=torch.Generator().manual_seed(0))


def with_changed(state: dict[str, Tensor], name: str, tensor: Tensor | None) -> dict[str, Tensor]:
    changed = state | ({} if tensor is None else {name: tensor})
    return {key: value for key, value in changed.items() if tensor is not None or key != name}


def loss(model: MaskedAutoencoder) -> Tensor:
    return model({"image": images()}, generator=torch.Generator().manual_seed(0)).loss


@pytest.mark.parametrize("overrides", [(), (LEARNED,)])
def test_mae_round_trip(overrides: tuple[str, ...]) -> None:
    model, other = make_model(*overrides), make_model(*overrides, seed=2)
    published = mae_core.export_state_dict(model, layout="mae")
    mae_core.import_state_dict(other, published, layout="mae")
    assert {name for name, tensor in model.state_dict().items() if not tensor.equal(other.state_dict()[name])} == set()
    assert loss(other).equal(loss(model))


def test_mae_names_and_shapes_are_the_published_ones() -> None:
    published = mae_core.export_state_dict(make_model(), layout="mae")
    shapes = {
        "cls_token": (1, 1, 16),
        "pos_embed": (1, 13, 16),
        "patch_embed.proj.weight": (16, 3, 4, 5),
        "patch_embed.proj.bias": (16,),
        "norm.weight": (16,),
        "norm.bias": (16,),
        "decoder_embed.weight": (8, 16),
        "decoder_embed.bias": (8,),
        "mask_token": (1, 1, 8),
        "decoder_pos_embed": (1, 13, 8),
        "decoder_norm.weight": (8,),
        "decoder_norm.bias": (8,),
        "decoder_pred.weight": (60, 8),
        "decoder_pred.bias": (60,),
    }
    kinds = ("weight", "bias")
    blocks = {f"{b}.{i}.{p}.{k}" for b in ("blocks", "decoder_blocks") for i in (0, 1) for p in BLOCK_PARTS for k in kinds}
    assert set(published) == set(shapes) | blocks
    assert {name: tuple(published[name].shape) for name in shapes} == shapes
    assert not published["pos_embed"][:, 0].any()


@pytest.mark.parametrize("overrides", [(), (LEARNED,)])
def test_timm_computes_the_same_features_from_the_exported_weights(overrides: tuple[str, ...]) -> None:
    model, vit = make_model(*overrides), timm_vit()
    vit.load_state_dict(mae_core.export_state_dict(model, layout="timm"), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(model.backbone.encode({"image": images()}).x, vit(images()), rtol=0, atol=1e-5)


def test_weights_of_timm_give_the_same_features_here() -> None:
    """Random ones, the class token's own position included: it is folded into the class token."""
    vit, model = timm_vit(), make_model(LEARNED)
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    decoder_before = model.parts("image").decoder.get_parameter("head.weight").clone()
    mae_core.import_state_dict(model, vit.state_dict(), layout="timm")
    with torch.no_grad():
        torch.testing.assert_close(model.backbone.encode({"image": images()}).x, vit(images()), rtol=0, atol=1e-5)
    assert model.parts("image").decoder.get_parameter("head.weight").equal(decoder_before)
    back = mae_core.export_state_dict(model, layout="timm")
    assert back["cls_token"].equal(vit.cls_token + vit.pos_embed[:, :1])  # type: ignore[operator]
    same = set(back) - {"cls_token", "pos_embed"}
    assert all(back[name].equal(vit.state_dict()[name]) for name in same)


def test_trained_positions_are_refused_where_they_are_fixed() -> None:
    state = mae_core.export_state_dict(make_model(LEARNED), layout="mae")
    with pytest.raises(MaeError) as error:
        mae_core.import_state_dict(make_model(), state, layout="mae")
    assert str(error.value).startswith("pos_embed: the checkpoint's positions differ from this model's fixed ones by up to ")
    assert "`learned`" in str(error.value)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("blocks.1.norm2.bias", None, "the checkpoint lacks blocks.1.norm2.bias"),
        ("pos_embed", None, "the checkpoint lacks pos_embed"),
        ("mask_token", None, "the checkpoint lacks mask_token"),
        ("head.weight", torch.zeros(2, 2), "the checkpoint has head.weight, for which this model has no place"),
        (
            "norm.bias",
            torch.zeros(3),
            "backbone.encoder.norm.bias: the checkpoint has the shape (3,), but this model has (16,)",
        ),
        (
            "patch_embed.proj.weight",
            torch.zeros(16, 60),
            "patch_embed.proj.weight has the shape (16, 60); for the patches of this model it must be (D, C, 4, 5)",
        ),
        (
            "pos_embed",
            torch.zeros(1, 5, 16),
            "pos_embed: the checkpoint has the shape (1, 5, 16), but this model has (1, 13, 16)",
        ),
        (
            "decoder_pos_embed",
            torch.ones(1, 13, 8),
            "decoder_pos_embed: the checkpoint has a position for the class token",
        ),
    ],
)
def test_checkpoints_that_do_not_fit(name: str, tensor: Tensor | None, message: str) -> None:
    model = make_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = with_changed(mae_core.export_state_dict(make_model(seed=2), layout="mae"), name, tensor)
    with pytest.raises(MaeError) as error:
        mae_core.import_state_dict(model, state, layout="mae")
    assert str(error.value).startswith(message)
    assert "encoder alone" not in str(error.value)
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("layout", ["mae", "timm"])
def test_exported_weights_are_values_alone(layout: str) -> None:
    """No gradient graph hangs on them, learned positions included: they can be saved."""
    exported = mae_core.export_state_dict(make_model(LEARNED), layout=layout)
    assert {name for name, tensor in exported.items() if tensor.requires_grad} == set()


def test_an_encoder_alone_needs_its_own_layout() -> None:
    state = mae_core.export_state_dict(make_model(), layout="timm")
    with pytest.raises(MaeError, match=r"^the checkpoint lacks decoder_blocks\.0.* more; .* import it with layout 'timm'$"):
        mae_core.import_state_dict(make_model(), state, layout="mae")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.encoder.class_token=false", "this layout has cls_token; this model has no backbone.encoder.cls_token"),
        ("model.modalities.image.positions=none", "this layout has one position for each patch, but the model has NoPositions"),
        ("model.encoder.mask_tokens=true", "this layout has mask_token; this model has no modalities.image.decoder.mask_token"),
        (
            "model.modalities.image.decoder.class_token=own",
            "this layout has no place for the model's modalities.image.decoder.cls_token",
        ),
    ],
)
def test_models_that_a_layout_cannot_hold(override: str, message: str) -> None:
    state = mae_core.export_state_dict(make_model(), layout="mae")
    for attempt in (mae_core.export_state_dict, lambda model, layout: mae_core.import_state_dict(model, state, layout=layout)):
        with pytest.raises(MaeError) as error:
            attempt(make_model(override), layout="mae")
        assert str(error.value).startswith(message)


def test_an_encoder_that_learned_with_mask_tokens_is_an_ordinary_one() -> None:
    model, vit = make_model("model.encoder.mask_tokens=true"), timm_vit()
    vit.load_state_dict(mae_core.export_state_dict(model, layout="timm"), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(model.backbone.encode({"image": images()}).x, vit(images()), rtol=0, atol=1e-5)


def test_an_unknown_layout_names_the_nearest() -> None:
    with pytest.raises(MaeError, match=r"^unknown layouts name 'tim'\. Did you mean 'timm'\? Known: .*\bmae\b.*\btimm\b"):
        mae_core.export_state_dict(make_model(), layout="tim")
