"""Files of published Audio-MAEs of which nobody says what they are, and of which parts are missing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import mae_core
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.model.backbone import Backbone
from mae_core.runs.convert import convert
from mae_core.runs.published import Origin

HEADS = Origin(overrides=["model.encoder.heads=2", "model.modalities.audio.decoder.heads=2"])
Weights = dict[str, Tensor]


def build(positions: str = "sincos_swapped") -> MaskedAutoencoder:
    audio = {
        "tokenizer": {"input_size": [64, 128]},
        "positions": positions,
        "decoder": {"width": 32, "depth": 2, "heads": 2},
    }
    sizes = {"encoder": {"width": 24, "depth": 2, "heads": 2}, "modalities": {"audio": audio}}
    torch.manual_seed(0)
    return mae_core.build_model(mae_core.load_config({"extends": "audio/audiomae_base", "model": sizes})).eval()


@torch.no_grad()
def features(backbone: Backbone) -> Tensor:
    return backbone.encode({"audio": torch.randn(2, 1, 64, 128, generator=torch.Generator().manual_seed(1))}).tokens


def without_decoder(weights: Weights) -> Weights:
    return {name: x for name, x in weights.items() if not name.startswith(("decoder", "mask_token"))}


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Weights], Path]:
    def write(weights: Weights) -> Path:
        torch.save({"model": weights}, tmp_path / "weights.pth")
        return tmp_path / "weights.pth"

    return write


def test_an_encoder_alone_is_recognised(save: Callable[[Weights], Path], tmp_path: Path) -> None:
    model = build()
    path = save(without_decoder(mae_core.export_state_dict(model, layout="audiomae")))
    convert(path, tmp_path / "encoder.safetensors", origin=HEADS)
    assert torch.equal(features(mae_core.load_backbone(tmp_path / "encoder.safetensors")), features(model.backbone))
    with pytest.warns(UserWarning, match=r"tensors keep random values, among them modalities\.audio\.decoder"):
        convert(path, tmp_path / "whole.pt", origin=HEADS)
    assert torch.equal(features(mae_core.load_model(tmp_path / "whole.pt")[0].backbone), features(model.backbone))


@pytest.mark.parametrize("head", [True, False])
def test_a_fine_tuned_file_gives_its_backbone_with_and_without_a_head(
    head: bool, save: Callable[[Weights], Path], tmp_path: Path
) -> None:
    weights = without_decoder(mae_core.export_state_dict(build("learned"), layout="audiomae"))
    weights = {name: x for name, x in weights.items() if not name.startswith("norm.")}
    weights |= {"fc_norm.weight": torch.ones(24), "fc_norm.bias": torch.zeros(24)}
    if head:
        weights |= {"head.weight": torch.zeros(7, 24), "head.bias": torch.zeros(7)}
    said: list[str] = []
    convert(save(weights), tmp_path / "encoder.safetensors", origin=Origin(overrides=HEADS.overrides, say=said.append))
    assert ("its head is left out" in said[0]) == head
    backbone = mae_core.load_backbone(tmp_path / "encoder.safetensors")
    assert torch.equal(backbone.encoder.state_dict()["blocks.1.mlp.fc2.weight"], weights["blocks.1.mlp.fc2.weight"])
