"""Hiera: the certificate with the numbers that ship and with others, and whole models at their published sizes."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from einops import rearrange
from golden_files import change_one_number, checks_of, failing, random_model, weights_of, write_numbers
from running import run

from mae_core import Mask, build_model, export_state_dict, import_state_dict, load_backbone, load_config
from mae_core.interfaces import Published, gather_patches
from mae_core.layouts.recognize import recognize
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.runs.logs import read_metrics
from mae_methods.hiera.certificate import certify
from mae_methods.hiera.encoder import HieraEncoder
from mae_registry import MaeError

CERTIFICATE = "mae_methods.hiera.certificate:certify"
SIZES = {"tiny": 12, "small": 16, "base": 24, "base_plus": 24, "large": 48, "huge": 48}
"""Recipes for images, and their numbers of blocks."""
IMAGE = {
    "encoder": {"width": 8, "depths": [1, 2, 1], "heads": 2, "kernel": [5, 3], "stride": [2, 1], "mask_unit": [4, 8]},
    "parts": {
        "tokenizer": {"input_size": [32, 16], "patch_size": [8, 4]},
        "decoder": {"width": 12, "depth": 1, "heads": 3},
        "masker": {"unit": [1, 2]},
    },
    "label": "b c (h p) (w q) -> b (h w) (c p q)",
    "label_sizes": {"p": 8, "q": 4},
    "stated": {"q_pool": 2, "input_size": [32, 16], "patch_stride": [2, 1], "mask_unit_size": [4, 8]},
}
VIDEO = {
    "encoder": {"width": 8, "depths": [1, 2, 1], "heads": 2, "kernel": [3, 3, 3], "stride": [2, 2, 2], "mask_unit": [2, 4, 4]},
    "parts": {
        "tokenizer": {"input_size": [8, 16, 24], "patch_size": [2, 4, 4]},
        "decoder": {"width": 12, "depth": 1, "heads": 3},
        "masker": {"ratio": 0.5, "unit": [2, 2, 2]},
    },
    "label": "b c (t u) (h p) (w q) -> b u (t h w) (p q c)",
    "label_sizes": {"u": 2, "p": 4, "q": 4},
    "stated": {
        "q_pool": 1,
        "q_stride": [1, 2, 2],
        "input_size": [8, 16, 24],
        "patch_stride": [2, 2, 2],
        "mask_unit_size": [2, 4, 4],
    },
}


def test_the_numbers_that_ship_agree() -> None:
    checks = list(certify(Published("mae_methods")))
    assert len(checks) == 8
    assert [check.name for check in checks if not check.passed] == []


def write_other_numbers(folder: Path, modality: str, sections: dict[str, Any], *, layout: str, recipe: str) -> None:
    """As a model of other sizes computes them."""
    model = random_model(recipe, {"encoder": sections["encoder"], "modalities": {modality: sections["parts"]}}, seed=5)
    parts, encoder = model.parts(modality), model.backbone.encoder
    assert isinstance(encoder, HieraEncoder)
    num_units = len(encoder.units.patches_of)
    kept = ~Mask.from_noise(torch.rand(2, num_units), num_units // 2).hidden
    mask = Mask.from_hidden(~kept[:, encoder.units.unit_of])
    x = torch.randn(2, *parts.tokenizer.sample_shape)
    with torch.no_grad():
        out = model({modality: x}, masks={modality: mask})
    values = rearrange(x, sections["label"], **sections["label_sizes"])
    values = values[:, 0] if modality == "video" else values  # the first frame of each patch
    truth = (values - values.mean(-1, keepdim=True)) / (values.var(-1, keepdim=True) + 1e-6).sqrt()
    label = gather_patches(truth, mask.ids_predict).flatten(0, 1)
    numbers = {"x": x, "mask": kept, "pred": out.pred[modality].flatten(0, 1), "loss": out.loss, "label": label}
    stated = {**sections["stated"], "stages": sections["encoder"]["depths"], "num_heads": 2, "decoder_num_heads": 3}
    meta = {f"cfg/{name}": value for name, value in stated.items()}
    write_numbers(folder / f"{layout}.safetensors", numbers | weights_of(model, layout), meta=meta)


@pytest.mark.parametrize(
    ("modality", "sections", "layout", "recipe"),
    [("image", IMAGE, "hiera", "methods/hiera_base"), ("video", VIDEO, "hiera_video", "methods/hiera_video_base")],
)
def test_numbers_of_other_sizes_agree_until_one_is_changed(
    tmp_path: Path, modality: str, sections: dict[str, Any], layout: str, recipe: str
) -> None:
    write_other_numbers(tmp_path, modality, sections, layout=layout, recipe=recipe)
    assert failing(checks_of(CERTIFICATE, tmp_path)) == []
    change_one_number(tmp_path / f"{layout}.safetensors", "pred", by=2e-5)
    assert failing(checks_of(CERTIFICATE, tmp_path)) == [f"{modality}: prediction"]


def meta_model(recipe: str, *overrides: str) -> MaskedAutoencoder:
    with torch.device("meta"):
        return build_model(load_config(f"methods/hiera_{recipe}", list(overrides)))


@pytest.mark.parametrize(("size", "num_blocks"), SIZES.items())
def test_encoders_of_published_sizes_have_the_names_and_shapes_of_timms(size: str, num_blocks: int) -> None:
    model = meta_model(size)
    found = {name: tuple(tensor.shape) for name, tensor in export_state_dict(model, layout="hiera").items()}
    with torch.device("meta"):
        peer = timm.create_model(f"hiera_{size}_224", num_classes=0)
    expected = {name: tuple(tensor.shape) for name, tensor in peer.state_dict().items() if not name.startswith("head.")}
    assert len({name.split(".")[1] for name in expected if name.startswith("blocks.")}) == num_blocks
    assert {name: found[name] for name in expected} == expected
    ours = ("encoder_norm", "multi_scale_fusion_heads", "decoder", "mask_token")
    assert all(name.startswith(ours) for name in found.keys() - expected.keys())


@pytest.mark.parametrize(
    ("recipe", "modality", "num_units", "kept"),
    [(name, "image", 49, 19) for name in SIZES] + [(f"video_{name}", "video", 392, 39) for name in list(SIZES)[2:]],
)
def test_models_of_published_sizes_compute_what_is_visible_only(recipe: str, modality: str, num_units: int, kept: int) -> None:
    model = meta_model(recipe)
    encoder, seen = model.backbone.encoder, []
    assert isinstance(encoder, HieraEncoder)
    assert len(encoder.units.patches_of) == num_units
    handles = [block.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:3])) for block in encoder.blocks]
    x = torch.empty(1, *model.parts(modality).tokenizer.sample_shape, device="meta")
    masks = model.draw_masks([modality], 1, generator=torch.Generator().manual_seed(0))
    out = model({modality: x}, masks=masks)
    for handle in handles:
        handle.remove()
    tokens = [64] * (sum(encoder.depths[:1]) + 1) + [16] * encoder.depths[1] + [4] * (sum(encoder.depths[2:]) - 1)
    assert seen == [(1, kept, number) for number in tokens]
    assert out.pred[modality].shape == (1, 4 * (num_units - kept), 768)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("base", ["model.encoder.depths=[1,1,2,1]", "model.encoder.width=64"]),
        ("base", ["model.modalities.image.tokenizer.input_size=[448,448]"]),
        ("video_base", ["model.modalities.video.tokenizer.input_size=[32,224,224]", "model.modalities.video.decoder.depth=2"]),
    ],
)
def test_other_sizes_are_recognised_with_and_without_a_decoder(recipe: str, overrides: list[str], whole: bool) -> None:
    model = meta_model(recipe, *overrides)
    weights = export_state_dict(model, layout="hiera_video" if "video" in recipe else "hiera")
    if not whole:
        weights = {name: x for name, x in weights.items() if not name.startswith(("decoder", "mask_token"))}
    found = recognize(weights)
    assert found.found.complete == whole
    again = load_config(found.recipe(["model.encoder.heads=1"], backbone=not whole), ["model.encoder.heads=1"])
    with torch.device("meta"):
        shapes = [{name: x.shape for name, x in built.backbone.state_dict().items()} for built in (build_model(again), model)]
    assert shapes[0] == shapes[1]


def test_another_encoder_is_refused_by_name() -> None:
    with torch.device("meta"):
        model = build_model(load_config("image/mae_vit_base"))
    with pytest.raises(MaeError, match=r"encoder 'hiera', but the model has ViTEncoder$"):
        import_state_dict(model, {}, layout="hiera")


def test_the_demo_trains_shows_pictures_and_leaves_a_backbone(tmp_path: Path) -> None:
    overrides = [
        "data.image.repeats=2",
        "train.epochs=2",
        "train.num_workers=0",
        "train.num_pictures=1",
        "schedule.warmup_epochs=0",
    ]
    run(load_config("methods/hiera_demo", overrides), tmp_path / "run")
    losses = [entry["loss"] for entry in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in entry]
    assert losses[-1] < losses[0]
    assert list((tmp_path / "run" / "pictures").glob("*.png"))
    backbone = load_backbone(tmp_path / "run")
    latent = backbone.encode({"image": torch.randn(2, 3, 64, 64)}, layers=[1, 2])
    assert latent.tokens.shape == (2, 256, 128)
    maps = backbone.features({"image": torch.randn(2, 3, 64, 64)})[:2]
    assert [tuple(features.shape) for features in maps] == [(2, 32, 32, 32), (2, 64, 16, 16)]
