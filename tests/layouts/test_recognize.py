"""Published weights of which nobody says what they are."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import mae_core
from mae_core.interfaces import Found, Layout
from mae_core.layouts import recognize as recognizing
from mae_core.layouts.recognize import recognize
from mae_core.registry import registry
from mae_registry import MaeError

ROOT = Path(__file__).parents[2]
SIZES: dict[str, Any] = {"width": 48, "depth": 2, "heads": 4}
HEADS = ["model.encoder.heads=4"]


def make_model(*overrides: str, encoder: dict[str, Any] = SIZES) -> Any:
    torch.manual_seed(1)
    image = {
        "tokenizer": {"input_size": [32, 32], "patch_size": [8, 8]},
        "decoder": {"width": 16, "depth": 1, "heads": 2, "mlp_ratio": 2.0},
    }
    recipe = {"extends": "image/mae_vit_base", "model": {"encoder": encoder, "modalities": {"image": image}}}
    return mae_core.build_model(mae_core.load_config(recipe, overrides)).eval()


def golden(plugin: str, name: str) -> dict[str, Tensor]:
    tensors = load_file(ROOT / "plugins" / plugin / f"mae_{plugin}" / "published" / f"{name}.safetensors")
    if name == "ijepa":
        folders = {"encoder": "encoder", "tgt": "target_encoder", "pred_sd": "predictor"}
        return {
            f"{ours}.{key.removeprefix(folder + '/')}": x
            for folder, ours in folders.items()
            for key, x in tensors.items()
            if key.startswith(folder + "/")
        }
    return {key.removeprefix("state_dict/"): x for key, x in tensors.items() if key.startswith("state_dict/")}


IMAGE, VIDEO = "model.modalities.image", "model.modalities.video"
CLIP = f"{VIDEO}.tokenizer.input_size=[16,64,64]"
HALF = f"{VIDEO}.masker.ratio=0.5"
TASKS = [f"model.modalities.{task}.decoder.heads=4" for task in ("image", "depth", "semseg")]
FAMILIES = [
    ("image", "mae", "mae", HEADS, [f"{IMAGE}.decoder.heads=4"]),
    ("image", "multimae", "multimae", HEADS, [*TASKS, "model.masker.num_keep=12"]),
    ("video", "videomae", "videomae", [*HEADS, CLIP], [f"{VIDEO}.decoder.heads=2"]),
    ("video", "videomaev2", "videomae", [*HEADS, CLIP], [f"{VIDEO}.decoder.heads=2"]),
    ("video", "mae_st", "mae_st", HEADS, [f"{VIDEO}.decoder.heads=4"]),
    ("audio", "audiomae", "audiomae", HEADS, []),
    ("methods", "ijepa", "jepa", HEADS, [f"{IMAGE}.decoder.heads=4", f"{IMAGE}.masker=random"]),
    ("methods", "d2v2", "data2vec", HEADS, []),
    ("methods", "hiera", "hiera", ["model.encoder.heads=1"], [f"{IMAGE}.decoder.heads=4"]),
    (
        "methods",
        "hiera_video",
        "hiera_video",
        ["model.encoder.heads=1"],
        [f"{VIDEO}.decoder.heads=4", HALF],
    ),
    ("methods", "satmae_group", "satmae_group", HEADS, ["model.modalities.multispectral.decoder.heads=4"]),
    ("methods", "satmae_temporal", "satmae_temporal", HEADS, ["model.modalities.dated_images.decoder.heads=4"]),
]


@pytest.mark.parametrize(
    ("plugin", "name", "layout", "of_encoder", "of_the_rest"), FAMILIES, ids=[family[1] for family in FAMILIES]
)
def test_every_published_family_is_recognised_and_loaded(
    plugin: str, name: str, layout: str, of_encoder: list[str], of_the_rest: list[str], tmp_path: Path
) -> None:
    """Its sizes fit every tensor: none is left over, missing, or of another shape; a backbone asks for less."""
    weights = golden(plugin, name)
    path = tmp_path / "published.pth"
    torch.save({"model": weights, "optimizer": {"state": {0: torch.zeros(2)}}, "epoch": 3}, path)
    heard: list[str] = []
    backbone = mae_core.load_backbone(path, overrides=of_encoder, say=heard.append)
    (sentence,) = heard
    assert f"layout {layout}: " in sentence
    model, config, _ = mae_core.load_model(path, overrides=[*of_encoder, *of_the_rest])
    assert model.backbone.encoder.width == backbone.encoder.width
    exported = mae_core.export_state_dict(model, layout=layout)
    assert {name for name, tensor in weights.items() if not tensor.allclose(exported[name], atol=1e-5)} == set()
    assert config["model.encoder"]["heads"] in (1, 4)


@pytest.mark.parametrize(
    ("plugin", "name", "layout"),
    [
        ("image", "mae_vit", "mae_vit"),
        ("image", "mae_linprobe_trajectory", "timm"),
        ("audio", "audiomae_vit", "audiomae_vit"),
    ],
)
def test_of_a_classifier_the_encoder_is_loaded(plugin: str, name: str, layout: str, tmp_path: Path) -> None:
    weights = golden(plugin, name)
    torch.save({"model": weights}, tmp_path / "classifier.pth")
    heard: list[str] = []
    backbone = mae_core.load_backbone(tmp_path / "classifier.pth", overrides=HEADS, say=heard.append)
    assert f"layout {layout}: " in heard[0]
    assert "left out" in heard[0]
    exported = mae_core.export_state_dict(backbone, layout=layout)
    assert {name for name in weights if not name.startswith(("head.", "fc_norm."))} == set(exported)
    if layout != "timm":  # which adds the class token's position to the token
        assert all(tensor.equal(weights[name]) for name, tensor in exported.items())


@pytest.mark.parametrize(("plugin", "layout"), [("image", "mae_vit"), ("audio", "audiomae_vit")])
def test_the_encoder_of_a_fine_tuned_classifier_is_recognised(plugin: str, layout: str, tmp_path: Path) -> None:
    """Its positions were trained, the class token's too; it has no last norm; its head is left out."""
    weights = golden(plugin, layout)
    torch.save({"model": weights}, tmp_path / "tuned.pth")
    heard: list[str] = []
    backbone = mae_core.load_backbone(tmp_path / "tuned.pth", overrides=HEADS, say=heard.append)
    assert f"layout {layout}: " in heard[0]
    own = backbone.state_dict()
    assert "encoder.norm.weight" not in own
    positions = own[f"inputs.{plugin}.positions.table"], own[f"inputs.{plugin}.positions.class_row"][0]
    assert torch.equal(torch.cat(positions[::-1]), weights["pos_embed"][0])


def test_a_published_model_predicts_what_the_same_weights_here_do(tmp_path: Path) -> None:
    model = make_model()
    state = mae_core.export_state_dict(model, layout="mae")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "mae.safetensors")
    overrides = [*HEADS, "model.modalities.image.decoder.heads=2"]
    found, config, step = mae_core.load_model(tmp_path / "mae.safetensors", overrides=overrides)
    assert step == 0
    assert config["model.modalities.image.positions.name"] == "sincos"
    x, masks = torch.randn(2, 3, 32, 32), model.draw_masks(["image"], 2)
    with torch.no_grad():
        assert torch.equal(found({"image": x}, masks=masks).pred["image"], model({"image": x}, masks=masks).pred["image"])


def test_positions_that_were_trained_are_learned_ones(tmp_path: Path) -> None:
    model = make_model("model.modalities.image.positions=learned")
    torch.save(mae_core.export_state_dict(model, layout="timm"), tmp_path / "vit.pth")
    backbone = mae_core.load_backbone(tmp_path / "vit.pth", overrides=HEADS)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(backbone.encode({"image": x}).x, model.backbone.encode({"image": x}).x, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("width", "heads"), [(192, 3), (384, 6), (768, 12), (1024, 16), (1280, 16)])
def test_the_heads_of_the_published_sizes_are_known(width: int, heads: int) -> None:
    with torch.device("meta"):
        model = make_model(encoder={"width": width, "depth": 1, "heads": heads})
    state = {name: torch.zeros(x.shape) for name, x in mae_core.export_state_dict(model, layout="timm").items()}
    config = mae_core.load_config(recognize(state).recipe())
    assert (config["model.encoder.width"], config["model.encoder.heads"]) == (width, heads)


def test_heads_that_nobody_knows_are_asked_for(tmp_path: Path) -> None:
    torch.save(mae_core.export_state_dict(make_model(), layout="timm"), tmp_path / "vit.pth")
    with pytest.raises(MaeError, match=r"vit\.pth: .*model\.encoder\.heads=VALUE"):
        mae_core.load_backbone(tmp_path / "vit.pth")


def test_an_encoder_alone_is_no_whole_model(tmp_path: Path) -> None:
    torch.save(mae_core.export_state_dict(make_model(), layout="timm"), tmp_path / "vit.pth")
    with pytest.raises(MaeError, match=r"vit\.pth holds the encoder .* no decoder: mae_core\.load_backbone reads it"):
        mae_core.load_model(tmp_path / "vit.pth", overrides=HEADS)


def test_unknown_weights_name_what_can_still_be_done(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(MaeError, match=r"other\.pth: no layout knows .*layer\.weight; .*Layouts: .*\bmae\b"):
        mae_core.load_backbone(tmp_path / "other.pth")
    with pytest.raises(MaeError, match=r"the layout 'mae' does not recognise .*recipe"):
        mae_core.load_backbone(tmp_path / "other.pth", layout="mae")
    with pytest.raises(MaeError, match=r"unknown layouts name 'timmm'.* Did you mean 'timm'"):
        mae_core.load_backbone(tmp_path / "other.pth", layout="timmm")
    with pytest.raises(MaeError, match=r"the checkpoint lacks"):
        mae_core.load_backbone(tmp_path / "other.pth", layout="mae", recipe="image/mae_vit_base")


class Greedy(Layout):
    """Takes everything for its own."""

    modality = "image"

    def to_model(self, *_: object, **__: object) -> dict[str, Tensor]:
        raise NotImplementedError

    from_model = to_model

    def recognize(self, *_: object) -> Found:
        return Found("anything", "image/mae_vit_base", {"encoder": {}})


class Broken(Greedy):
    def recognize(self, *_: object) -> Found:
        raise KeyError("typo")


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A registry in which the layout `timm` is another class."""

    class Other:
        def __init__(self, layout: type[Layout]) -> None:
            self.layout = layout

        def names(self, kind: str) -> list[str]:
            return registry().names(kind)

        def get(self, kind: str, name: str) -> Any:
            return self if name == "timm" else registry().get(kind, name)

        def load(self) -> type[Layout]:
            return self.layout

    return lambda layout: monkeypatch.setattr(recognizing, "registry", lambda: Other(layout))


def test_several_layouts_that_fit_are_named(plugged: Any) -> None:
    plugged(Greedy)
    state = mae_core.export_state_dict(make_model(), layout="mae")
    with pytest.raises(MaeError, match=r"several layouts: mae \(.*\); timm \(anything\); say which one"):
        recognize(state)
    assert recognize(state, layout="mae").layout == "mae"


def test_a_layout_that_fails_does_not_keep_others_from_being_asked(plugged: Any) -> None:
    plugged(Broken)
    state = mae_core.export_state_dict(make_model(), layout="mae")
    with pytest.warns(UserWarning, match="layout 'timm' failed"):
        assert recognize(state).layout == "mae"
