"""Layouts that are tables: pieces, forms, positions, and models of several kinds."""

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import mae_core
from mae_core.layouts import published
from mae_core.layouts.forms import Convolution, PositionTable
from mae_core.layouts.table import DECODER, ENCODER, INPUT, TableLayout
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_registry import MaeError

PARTS: dict[str, Any] = {
    "tokenizer": {"input_size": [8, 12], "patch_size": [4, 4]},
    "decoder": {"width": 8, "depth": 1, "heads": 2},
}


def make_model(*overrides: str, entries: tuple[str, ...] = ("image",), seed: int = 1) -> MaskedAutoencoder:
    modalities = {entry: {**PARTS, "type": "image"} for entry in entries}
    encoder = {"name": "vit", "width": 16, "depth": 1, "heads": 2}
    torch.manual_seed(seed)
    return mae_core.build_model(mae_core.load_config({"model": {"encoder": encoder, "modalities": modalities}}, overrides))


class Apart(TableLayout):
    """Everything that a table can say."""

    modality = "image"
    names: ClassVar = {
        ENCODER + "cls_token": "token",
        ENCODER + "mask_token": None,
        ENCODER: "net.",
        INPUT + "tokenizer.": "net.embed.",
        DECODER + "mask_token": "hidden",
        DECODER: "head.",
    }
    pieces: ClassVar = {"qkv.weight": ("q", "k", "v"), "qkv.bias": ("q_bias", None, "v_bias")}
    positions: ClassVar = {
        INPUT + "positions": PositionTable("where", planes=(2, 3)),
        DECODER + "positions": PositionTable("head.where", class_rows=0),
    }


@pytest.fixture(autouse=True)
def layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """`apart` beside the registered ones."""
    find = published._find
    monkeypatch.setattr(published, "_find", lambda name: Apart() if name == "apart" else find(name))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name, tensor in one.items() if tensor.equal(other[name])}


@pytest.mark.parametrize("positions", ["sincos", "learned"])
def test_everything_goes_there_and_back(positions: str) -> None:
    learned = f"model.modalities.image.positions={positions}"
    model, other = make_model(learned), make_model(learned, seed=2)
    state = mae_core.export_state_dict(model, layout="apart")
    assert mae_core.import_state_dict(other, state, layout="apart") == []
    # the biases of keys alone are not in the checkpoint: they become zero
    differing = model.state_dict().keys() - same(model.state_dict(), other.state_dict())
    assert all(name.endswith("attn.qkv.bias") for name in differing)
    assert all(not other.state_dict()[name].chunk(3)[1].any() for name in other.state_dict() if name.endswith("qkv.bias"))
    again = mae_core.export_state_dict(other, layout="apart")
    assert same(again, state) == set(state)
    assert {"net.blocks.0.attn.q", "head.blocks.0.attn.v_bias", "token", "hidden", "where", "head.where"} <= set(state)
    assert state["where"].shape == (1, 16, 2, 3)
    assert state["head.where"].shape == (1, 6, 8)
    assert state["net.embed.proj.weight"].shape == (16, 3, 4, 4)


def test_gradients_are_exported_as_weights_are() -> None:
    model = make_model("model.modalities.image.positions=learned")
    model({"image": torch.randn(2, 3, 8, 12)}).loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    exported = Apart().from_model(model, gradients, entry="image")
    own = gradients["backbone.inputs.image.positions.table"]
    assert exported["where"][0].flatten(1).T.equal(own)
    assert exported["net.blocks.0.attn.k"].equal(gradients["backbone.encoder.blocks.0.attn.qkv.weight"][16:32])


def test_a_convolution_is_a_matrix_over_patches_channels_last() -> None:
    weight, patches = torch.randn(5, 2, 3, 4, 4), torch.randn(1, 2, 3, 4, 4)
    matrix = Convolution((3, 4, 4)).to_ours(weight)
    expected = torch.nn.functional.conv3d(patches, weight).flatten()
    torch.testing.assert_close(matrix @ patches[0].movedim(0, -1).flatten(), expected, rtol=1e-5, atol=1e-5)
    assert Convolution((3, 4, 4)).to_published(matrix).equal(weight)


@pytest.mark.parametrize("layout", ["mae", "timm", "apart"])
def test_a_backbone_alone_takes_what_is_its_own(layout: str) -> None:
    model, other = make_model(), make_model(seed=2)
    state = mae_core.export_state_dict(model, layout=layout)
    own = mae_core.export_state_dict(model.backbone, layout=layout)
    assert same(own, {name: state[name] for name in own}) == set(own)
    assert not any(name.startswith(("decoder", "head", "mask_token", "hidden")) for name in own)
    assert mae_core.import_state_dict(other.backbone, state, layout=layout) == []
    x = torch.randn(2, 3, 8, 12)
    assert other.backbone.encode({"image": x}).x.allclose(model.backbone.encode({"image": x}).x, atol=1e-6)


def test_a_backbone_refuses_what_nothing_is_known_of() -> None:
    state = mae_core.export_state_dict(make_model(), layout="mae")
    with pytest.raises(MaeError, match="extra, for which this model has no place"):
        mae_core.import_state_dict(make_model().backbone, {**state, "extra": torch.zeros(1)}, layout="mae")


def test_of_several_entries_one_is_named() -> None:
    model = make_model(entries=("left", "right"))
    with pytest.raises(MaeError, match="left, right; choose one with entry=NAME"):
        mae_core.export_state_dict(model, layout="mae")
    with pytest.raises(MaeError, match="'top' of the model is not one of these"):
        mae_core.export_state_dict(model, layout="mae", entry="top")
    state = mae_core.export_state_dict(make_model(seed=2), layout="mae")
    kept = mae_core.import_state_dict(model, state, layout="mae", entry="right")
    assert kept
    assert all(name.startswith(("backbone.inputs.left.", "modalities.left.")) for name in kept)
    exported = mae_core.export_state_dict(model, layout="mae", entry="right")
    assert same(exported, state) == set(state)


def test_a_layout_of_another_modality_says_so() -> None:
    with pytest.raises(MaeError, match="layout 'videomae' is for 'video', but the model has image"):
        mae_core.export_state_dict(make_model(), layout="videomae")


def test_a_table_laid_out_as_a_picture_has_no_room_for_the_class_tokens_position() -> None:
    model = make_model("model.modalities.image.positions={name: learned, class_token: true}")
    with pytest.raises(MaeError, match=r"no place for the model's backbone\.inputs\.image\.positions\.class_row"):
        mae_core.export_state_dict(model, layout="apart")
    assert mae_core.export_state_dict(model, layout="mae")["pos_embed"][:, 0].any()
