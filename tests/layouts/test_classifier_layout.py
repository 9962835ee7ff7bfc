"""The layout of published classifiers, held against timm's, which has the same names."""

from functools import partial

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import mae_core
from mae_core.build import build_backbone, build_model
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.backbone import Backbone
from mae_core.model.classifier import Classifier
from mae_core.parts.heads import AttentiveHead, LinearHead
from mae_registry import MaeError

WIDTH, CLASSES = 16, 5
RECIPE = {
    "model": {
        "encoder": {"name": "vit", "width": WIDTH, "depth": 2, "heads": 2},
        "modalities": {"image": {"tokenizer": {"input_size": [12, 20], "patch_size": [4, 5]}}},
    }
}
LEARNED = "model.modalities.image.positions={name: learned, class_token: true}"
WITHOUT_ROW = "model.modalities.image.positions=learned"
NO_NORM = "model.encoder.final_norm=false"


def make_backbone(*overrides: str) -> Backbone:
    return build_backbone(mae_core.load_config(RECIPE, overrides))


def randomized(model: nn.Module, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)


def fine_tuned(*overrides: str, seed: int = 1) -> Classifier:
    model = Classifier(make_backbone(*(overrides or (LEARNED, NO_NORM))), LinearHead(WIDTH, CLASSES))
    randomized(model, seed)
    return model.eval()


def probe(seed: int = 1) -> Classifier:
    model = Classifier(make_backbone(LEARNED), LinearHead(WIDTH, CLASSES, pool="cls", norm="batch"))
    randomized(model, seed)
    model.head(model.backbone.encode({"image": images()}))  # its BatchNorm sees something
    return model.eval()


def autoencoder() -> MaskedAutoencoder:
    decoder = "model.modalities.image.decoder={width: 8, depth: 1, heads: 2}"
    return build_model(mae_core.load_config({"extends": "image/mae_vit_base", **RECIPE}, [decoder]))


def timm_vit(pool: str) -> VisionTransformer:
    norm = partial(nn.LayerNorm, eps=1e-6)
    sizes = {"img_size": (12, 20), "patch_size": (4, 5), "embed_dim": WIDTH, "depth": 2, "num_heads": 2}
    model = VisionTransformer(**sizes, norm_layer=norm, num_classes=CLASSES, global_pool=pool)  # type: ignore[arg-type]
    randomized(model, seed=3)
    return model.eval()


def images() -> Tensor:
    return torch.randn(3, 3, 12, 20, generator=torch.Generator().manual_seed(0))


def test_timm_gives_the_same_scores_from_the_exported_weights() -> None:
    model, vit = fine_tuned(), timm_vit("avg")
    vit.load_state_dict(mae_core.export_state_dict(model, layout="mae_vit"), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(model({"image": images()}), vit(images()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("positions", [LEARNED, WITHOUT_ROW])
def test_weights_of_timm_give_the_same_scores_here(positions: str) -> None:
    model, vit = fine_tuned(positions, NO_NORM), timm_vit("avg")
    assert mae_core.import_state_dict(model, vit.state_dict(), layout="mae_vit") == []
    with torch.no_grad():
        torch.testing.assert_close(model({"image": images()}), vit(images()), rtol=0, atol=1e-5)
    state = model.state_dict()
    if positions == LEARNED:
        assert state["backbone.inputs.image.positions.class_row"].equal(vit.state_dict()["pos_embed"][:, :1])
        assert state["backbone.encoder.cls_token"].equal(vit.state_dict()["cls_token"])
        again = mae_core.export_state_dict(model, layout="mae_vit")
        assert {name for name, tensor in again.items() if not tensor.equal(vit.state_dict()[name])} == set()


def test_a_class_token_with_the_last_norm_is_classified_too() -> None:
    model = Classifier(make_backbone(LEARNED), LinearHead(WIDTH, CLASSES, pool="cls", norm="none")).eval()
    vit = timm_vit("token")
    mae_core.import_state_dict(model, vit.state_dict(), layout="mae_vit")
    with torch.no_grad():
        torch.testing.assert_close(model({"image": images()}), vit(images()), rtol=0, atol=1e-5)


def test_a_probe_has_its_batch_norm_in_the_checkpoint() -> None:
    model, other = probe(), probe(seed=2)
    published = mae_core.export_state_dict(model, layout="mae_vit")
    assert {name for name in published if name.startswith("head.")} == {
        "head.0.running_mean",
        "head.0.running_var",
        "head.0.num_batches_tracked",
        "head.1.weight",
        "head.1.bias",
    }
    mae_core.import_state_dict(other, published, layout="mae_vit")
    assert other({"image": images()}).equal(model({"image": images()}))


@pytest.mark.parametrize("make", [fine_tuned, probe])
def test_a_backbone_leaves_the_head(make) -> None:
    model = make()
    backbone = make_backbone(LEARNED, *([NO_NORM] if make is fine_tuned else []))
    assert mae_core.import_state_dict(backbone, mae_core.export_state_dict(model, layout="mae_vit"), layout="mae_vit") == []
    with torch.no_grad():
        assert backbone.eval().encode({"image": images()}).x.equal(model.backbone.encode({"image": images()}).x)


def test_what_the_layout_cannot_hold() -> None:
    with pytest.raises(MaeError, match=r"for classifiers whose head is linear.* whose head is AttentiveHead"):
        mae_core.export_state_dict(Classifier(make_backbone(), AttentiveHead(WIDTH, 2, heads=2)), layout="mae_vit")
    with pytest.raises(MaeError, match="this model is a MaskedAutoencoder"):
        mae_core.export_state_dict(autoencoder(), layout="mae_vit")
    state = mae_core.export_state_dict(fine_tuned(), layout="mae_vit")
    with pytest.raises(MaeError, match=r"lacks norm\.bias, norm\.weight"):
        mae_core.import_state_dict(fine_tuned(LEARNED), state, layout="mae_vit")
    with pytest.raises(MaeError, match=r"head\.linear\.weight: the checkpoint has the shape \(5, 16\), but .*\(2, 16\)"):
        mae_core.import_state_dict(Classifier(make_backbone(LEARNED, NO_NORM), LinearHead(WIDTH, 2)), state, layout="mae_vit")
    fixed = Classifier(make_backbone(NO_NORM), LinearHead(WIDTH, CLASSES))
    with pytest.raises(MaeError, match="pos_embed: the checkpoint's positions differ"):
        mae_core.import_state_dict(fixed, state, layout="mae_vit")
