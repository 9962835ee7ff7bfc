"""The published MultiMAE: its numbers, and the names of its checkpoints."""

from importlib import resources
from typing import Any

import pytest
import torch
from safetensors.torch import load

import mae_core
from mae_core import build_model, load_config
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_registry import MaeError


def make_model(*overrides: str) -> MaskedAutoencoder:
    tokenizer, decoder = {"input_size": [64, 64], "patch_size": [16, 16]}, {"width": 32, "depth": 2, "heads": 4}
    modalities: dict[str, Any] = {name: {"tokenizer": tokenizer, "decoder": decoder} for name in ("image", "depth", "semseg")}
    modalities["semseg"]["tokenizer"] = {**tokenizer, "num_classes": 134, "class_width": 8}
    model = {"encoder": {"width": 48, "depth": 2, "heads": 4}, "masker": {"num_keep": 12}, "modalities": modalities}
    return build_model(load_config({"extends": "image/multimae_base", "model": model}, overrides))


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    golden = load((resources.files("mae_image") / "published" / "multimae.safetensors").read_bytes())
    return {name.removeprefix("state_dict/"): tensor for name, tensor in golden.items() if name.startswith("state_dict/")}


def test_a_checkpoint_goes_there_and_back_unchanged(published: dict[str, torch.Tensor]) -> None:
    model = make_model()
    mae_core.import_state_dict(model, published, layout="multimae")
    exported = mae_core.export_state_dict(model, layout="multimae")
    assert exported.keys() == published.keys()
    for name, tensor in exported.items():
        if name.endswith("pos_emb"):  # computed here
            torch.testing.assert_close(tensor, published[name], rtol=0, atol=1e-5)
        else:
            assert torch.equal(tensor, published[name]), name


def test_the_full_size_has_the_published_names_and_shapes() -> None:
    with torch.device("meta"):
        model = build_model(load_config("image/multimae_base"))
    shapes = {name: tuple(t.shape) for name, t in mae_core.export_state_dict(model, layout="multimae").items()}
    assert shapes["input_adapters.rgb.proj.weight"] == (768, 3, 16, 16)
    assert shapes["input_adapters.depth.proj.weight"] == (768, 1, 16, 16)
    assert shapes["input_adapters.semseg.class_emb.weight"] == (133, 64)
    assert shapes["input_adapters.semseg.proj.weight"] == (768, 64, 4, 4)
    assert shapes["output_adapters.norm_rgb.out_proj.weight"] == (768, 256)
    assert shapes["output_adapters.semseg.out_proj.weight"] == (133 * 16, 256)
    assert shapes["output_adapters.depth.pos_emb"] == (1, 256, 14, 14)
    assert shapes["global_tokens"] == (1, 1, 768)
    assert not any(name.startswith("encoder.norm") for name in shapes)


def test_two_of_the_three_tasks(published: dict[str, torch.Tensor]) -> None:
    without_labels = ("model.modalities.semseg=null", "data.semseg=null")
    model = make_model(*without_labels, "model.modalities.image.decoder.name=cross_attention")
    names = mae_core.export_state_dict(model, layout="multimae")
    assert {name.split(".")[1] for name in names if "adapters" in name} == {"rgb", "depth"}
    with pytest.raises(MaeError, match=r"the checkpoint has input_adapters\.semseg"):
        mae_core.import_state_dict(model, published, layout="multimae")


def test_what_does_not_fit_is_named(published: dict[str, torch.Tensor]) -> None:
    model = make_model()
    without = {name: tensor for name, tensor in published.items() if name != "global_tokens"}
    with pytest.raises(MaeError, match="the checkpoint lacks global_tokens"):
        mae_core.import_state_dict(model, without, layout="multimae")
    with pytest.raises(MaeError, match=r"the checkpoint has odd\.weight, for which this model has no place"):
        mae_core.import_state_dict(model, published | {"odd.weight": torch.zeros(1)}, layout="multimae")
    moved = published | {"input_adapters.depth.pos_emb": published["input_adapters.depth.pos_emb"].transpose(2, 3)}
    with pytest.raises(MaeError, match=r"input_adapters\.depth\.pos_emb: the checkpoint's positions differ from this model's"):
        mae_core.import_state_dict(model, moved, layout="multimae")
    other = make_model("model.modalities.image.positions.leading=last_axis")
    with pytest.raises(MaeError, match=r"rgb\.pos_emb: the checkpoint's positions differ"):
        mae_core.import_state_dict(other, published, layout="multimae")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "model.modalities.image.decoder={name: vit, width: 32, depth: 1, heads: 2}",
            "the decoder 'cross_attention' for image",
        ),
        ("model.modalities.depth.positions=learned", r"no place for the model's .*positions\.depth\.table"),
    ],
)
def test_models_that_the_layout_has_no_names_for(override: str, message: str) -> None:
    with pytest.raises(MaeError, match=message):
        mae_core.export_state_dict(make_model(override), layout="multimae")
