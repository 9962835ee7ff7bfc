"""`mae_core.runs.convert`: of a fine-tuning, the classifier with its head."""

from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import mae_core
from mae_core.build import build_backbone
from mae_core.interfaces import Head
from mae_core.model.classifier import Classifier
from mae_core.parts.heads import AttentiveHead, LinearHead
from mae_core.runs.checkpoint import Checkpoint, plugin_versions, write_checkpoint
from mae_core.runs.convert import convert
from mae_registry import MaeError

WIDTH, CLASSES = 48, 5


def make_config(*overrides: str) -> mae_core.Config:
    tokenizer = {"input_size": [32, 32], "patch_size": [8, 8]}
    sizes = {"encoder": {"width": WIDTH, "depth": 2, "heads": 4}, "modalities": {"image": {"tokenizer": tokenizer}}}
    return mae_core.load_config({"extends": "image/finetune_base", "model": sizes}, overrides)


def make_classifier(config: mae_core.Config, head: Head | None = None) -> Classifier:
    torch.manual_seed(1)
    model = Classifier(build_backbone(config), head or LinearHead(WIDTH, CLASSES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    return model.eval()


def saved(path: Path, config: mae_core.Config, model: Classifier) -> Path:
    write_checkpoint(path, Checkpoint(7, config.to_yaml(), model.state_dict(), {}, plugin_versions(config)))
    return path


@pytest.mark.parametrize("is_averaged", [False, True])
def test_a_fine_tuning_becomes_a_published_classifier(tmp_path: Path, is_averaged: bool) -> None:
    config = make_config()
    model = make_classifier(config)
    if is_averaged:
        model.begin_average()
        with torch.no_grad():
            model.head.linear.weight.zero_()
    convert(saved(tmp_path / "own.pt", config, model), tmp_path / "out.safetensors", to="mae_vit")
    norm = partial(nn.LayerNorm, eps=1e-6)
    peer = VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=WIDTH,
        depth=2,
        num_heads=4,
        num_classes=CLASSES,
        global_pool="avg",
        norm_layer=norm,
    ).eval()
    peer.load_state_dict(load_file(tmp_path / "out.safetensors"))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(peer(x), (model.average or model)({"image": x}), rtol=0, atol=1e-5)
    assert (tmp_path / "out.md").is_file()


def test_the_encoder_of_a_fine_tuning_is_written_as_before(tmp_path: Path) -> None:
    config = make_config()
    model = make_classifier(config)
    convert(saved(tmp_path / "own.pt", config, model), tmp_path / "encoder.safetensors")
    found = mae_core.load_backbone(tmp_path / "encoder.safetensors").state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in model.backbone.state_dict().items())


def test_a_head_that_is_not_linear_is_refused(tmp_path: Path) -> None:
    config = make_config("task.head={name: attentive, heads: 4}")
    source = saved(tmp_path / "own.pt", config, make_classifier(config, AttentiveHead(WIDTH, CLASSES, heads=4)))
    with pytest.raises(MaeError, match="head"):
        convert(source, tmp_path / "out.pth", to="mae_vit")
    assert not (tmp_path / "out.pth").exists()
