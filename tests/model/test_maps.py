"""Maps of features for detection and segmentation: of other sizes than the model's, and at several strides."""

from typing import Any

import pytest
import torch

from mae_core import load_config
from mae_core.build import build_backbone
from mae_core.model.pyramid import FeaturePyramid
from mae_core.model.transfer import transfer
from mae_registry import MaeError

PART = "model.modalities.image"


def backbone(recipe, *overrides, seed=0) -> Any:
    torch.manual_seed(seed)
    return build_backbone(load_config(recipe, list(overrides))).eval()


@pytest.fixture
def plain(tiny_recipe) -> Any:
    return backbone(tiny_recipe, "model.encoder.depth=8")


def test_a_place_of_a_map_holds_the_token_of_its_patch(plain):
    x = torch.randn(2, 3, 24, 32)
    with torch.no_grad():
        found = plain.features({"image": x})
        latent = plain.encode({"image": x}, layers=[2, 4, 6, 8])
    assert [tuple(features.shape) for features in found] == [(2, 32, 3, 4)] * 4
    for layer, features in zip((2, 4, 6, 8), found, strict=True):
        assert torch.equal(features[:, :, 2, 1], latent.layers[layer][:, 1 + 2 * 4 + 1])


@pytest.mark.parametrize("positions", ["sincos", "learned"])
@pytest.mark.parametrize("size", [(40, 24), (16, 64)])
def test_another_size_has_the_features_of_a_model_of_that_size(tiny_recipe, positions, size):
    old = backbone(tiny_recipe, f"{PART}.positions={{name: {positions}}}")
    wanted = [f"{PART}.tokenizer.input_size={list(size)}", f"{PART}.positions={{name: learned}}"]
    new = backbone(tiny_recipe, *wanted, seed=1)
    transfer(new, old, interpolate=True)
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        for one, other in zip(old.features({"image": x}), new.features({"image": x}), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=2e-6)


def test_weights_and_learned_positions_learn_from_another_size(tiny_recipe):
    model = backbone(tiny_recipe, f"{PART}.positions={{name: learned}}")
    model.train()
    model.encoder.blocks[0].eval()
    model.features({"image": torch.randn(2, 3, 32, 48)})[-1].sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == ["encoder.norm.weight", "encoder.norm.bias"]  # maps are taken before the last norm
    assert float(model.input("image").positions.table.grad.abs().min()) > 0
    assert not model.encoder.blocks[0].training
    assert model.encoder.blocks[1].training


def test_sizes_that_cannot_be_are_refused(plain):
    with pytest.raises(MaeError, match="axis 'h' has 20 = 2 x 8 \\+ 4; use 16 or 24"):
        plain.features({"image": torch.randn(1, 3, 20, 32)})
    with pytest.raises(MaeError, match="got samples of shape \\(1, 24, 32\\)"):
        plain.features({"image": torch.randn(1, 1, 24, 32)})
    with pytest.raises(MaeError, match="no modality 'imag'"):
        plain.features({"imag": torch.randn(1, 3, 24, 32)})
    with pytest.raises(MaeError, match="no layer 9"):
        plain.features({"image": torch.randn(1, 3, 24, 32)}, layers=[9])
    with pytest.raises(MaeError, match="maps of 'depth' need samples"):
        plain.features({"image": torch.randn(1, 3, 24, 32)}, entry="depth")


def test_sizes_that_the_encoder_itself_depends_on_are_refused():
    model = backbone("methods/hiera_demo")
    assert [features.shape[1:] for features in model.features({"image": torch.randn(1, 3, 64, 64)})] == [
        (32, 32, 32),
        (64, 16, 16),
        (128, 16, 16),
    ]
    with pytest.raises(MaeError, match="recipe of that size"):
        model.features({"image": torch.randn(1, 3, 96, 64)})


def test_a_pyramid_has_the_strides_that_it_was_asked_for(plain):
    pyramid = FeaturePyramid(plain, out_channels=24)
    found = pyramid(torch.randn(2, 3, 64, 96))
    assert list(found) == ["0", "1", "2", "3"]
    assert [tuple(features.shape) for features in found.values()] == [
        (2, 24, 16, 24),
        (2, 24, 8, 12),
        (2, 24, 4, 6),
        (2, 24, 2, 3),
    ]
    torch.stack([features.square().sum() for features in found.values()]).sum().backward()
    assert all(parameter.grad is not None for parameter in pyramid.levels.parameters())
    assert plain.input("image").tokenizer.proj.weight.grad.abs().sum() > 0


def test_a_pyramid_of_stages_takes_each_as_it_is():
    tokenizer = "model.modalities.image.tokenizer={input_size: [64, 64], patch_size: [32, 32]}"
    encoder = "model.encoder={width: 8, depths: [1, 1, 1, 1], heads: 1, fusion: false}"
    model = backbone("methods/hiera_base", tokenizer, encoder, "model.modalities.image.masker.unit=1")
    pyramid = FeaturePyramid(model, out_channels=16)
    assert [tuple(features.shape[1:]) for features in pyramid(torch.randn(1, 3, 64, 64)).values()] == [
        (16, 16, 16),
        (16, 8, 8),
        (16, 4, 4),
        (16, 2, 2),
    ]
    assert not any(isinstance(module, torch.nn.ConvTranspose2d | torch.nn.MaxPool2d) for module in pyramid.modules())


def test_strides_that_cannot_be_are_refused(plain, tiny_recipe):
    with pytest.raises(MaeError, match="doubled or halved"):
        FeaturePyramid(plain, strides=(3, 8, 16, 32))
    with pytest.raises(MaeError, match="4 layers"):
        FeaturePyramid(plain, strides=(4, 8))
    oblong = backbone(tiny_recipe, f"{PART}.tokenizer.patch_size=[8, 16]")
    with pytest.raises(MaeError, match="square places"):
        FeaturePyramid(oblong, layers=[1], strides=(8,))
