"""SatMAE's certificate, with the numbers that ship and with others, and the sizes of the published models."""

from pathlib import Path
from typing import Any

import pytest
import torch
from golden_files import change_one_number, checks_of, failing, random_model, weights_of, write_numbers
from torch import Tensor

from mae_core import Mask, build_model, export_state_dict, import_state_dict, load_config
from mae_core.interfaces import Published, Sample
from mae_methods.satmae.certificate import certify
from mae_registry import MaeError

CERTIFICATE = "mae_methods.satmae.certificate:certify"
GROUPS = ((3, 0), (1, 4, 5), (2,))
BLOCKS = {"width": 24, "depth": 1, "heads": 3, "mlp_ratio": 2}
SIZES = {"img_size": 12, "patch_size": 4, "in_chans": 6, "num_heads": 3, "decoder_num_heads": 2}


def published_loss(pred: Tensor, target: Tensor, hidden: Tensor, groups: tuple[tuple[int, ...], ...]) -> Tensor:
    """As the released implementation has it: predictions (B, bands, L, S) in the order of groups, the target's in their own.

    `hidden` is (B, groups, L).
    """
    each = (pred - target).square().mean(dim=-1)
    errors = [each[:, list(group)].mean(dim=1) * hidden[:, number] for number, group in enumerate(groups)]
    return torch.stack(errors).sum() / hidden.sum()


def targets(x: Tensor, *, patch: int, normalized: bool) -> Tensor:
    """(B, bands, H, W) -> (B, bands, L, S); normalised by all bands of a place."""
    places = x.unfold(2, patch, patch).unfold(3, patch, patch).flatten(2, 3).flatten(3)
    if not normalized:
        return places
    values = places.transpose(1, 2).flatten(2)
    mean, var = values.mean(dim=-1)[:, None, :, None], values.var(dim=-1)[:, None, :, None]
    return (places - mean) / (var + 1e-6).sqrt()


def group_numbers(path: Path, *, normalized: bool, seed: int) -> None:
    """Numbers of grouped bands, the loss computed anew."""
    parts: dict[str, Any] = {
        "tokenizer": {"input_size": [12, 12], "patch_size": [4, 4], "groups": [list(group) for group in GROUPS]},
        "positions": {"group_width": 8},
        "decoder_positions": {"group_width": 4},
        "decoder": {"width": 16, "depth": 2, "heads": 2, "mlp_ratio": 3},
        "target": {"normalize": "place" if normalized else "none"},
    }
    sections = {"encoder": BLOCKS, "modalities": {"multispectral": parts}}
    model = random_model("methods/satmae_group_large", sections, seed=seed)
    x, noise = torch.randn(3, 6, 12, 12), torch.rand(3, 27)
    mask = Mask.from_noise(noise, 10)
    with torch.no_grad():
        out = model({"multispectral": x}, masks={"multispectral": mask}, predict="all")
    by_group = out.pred["multispectral"].unflatten(1, (3, 9)).unflatten(-1, (3, 16))  # (B, groups, L, bands, S)
    pred = torch.cat([by_group[:, number, :, : len(group)].transpose(1, 2) for number, group in enumerate(GROUPS)], dim=1)
    hidden = mask.hidden.float().unflatten(1, (3, 9))
    loss = published_loss(pred, targets(x, patch=4, normalized=normalized), hidden, GROUPS)
    numbers = {"x": x, "noise": noise, "mask": hidden, "pred": pred, "loss": loss} | weights_of(model, "satmae_group")
    meta = SIZES | {"channel_groups": GROUPS, "norm_pix_loss": normalized}
    write_numbers(path / "satmae_group.safetensors", numbers, meta={f"cfg/{name}": value for name, value in meta.items()})


def temporal_numbers(path: Path, *, normalized: bool, seed: int) -> None:
    """Numbers of four dated images of two channels, all hidden alike."""
    parts: dict[str, Any] = {
        "tokenizer": {
            "input_size": [4, 12, 12],
            "patch_size": [1, 4, 4],
            "channels": 2,
            "mean": [0.0, 0.0],
            "std": [1.0, 1.0],
        },
        "positions": {"unit_width": 4},
        "decoder_positions": {"unit_width": 2},
        "decoder": {"width": 16, "depth": 2, "heads": 2, "mlp_ratio": 3},
        "target": {"normalize": "patch" if normalized else "none"},
    }
    sections = {"encoder": BLOCKS, "modalities": {"dated_images": parts}}
    model = random_model("methods/satmae_temporal_large", sections, seed=seed)
    images, stamps, noise = torch.randn(2, 4, 2, 12, 12), torch.randint(12, (2, 4, 3)), torch.rand(2, 9)
    hidden = Mask.from_noise(noise, 3).hidden.repeat(1, 4)
    sample = Sample(images.transpose(1, 2), {"timestamps": stamps})
    with torch.no_grad():
        out = model({"dated_images": sample}, masks={"dated_images": Mask.from_hidden(hidden)}, predict="all")
    numbers = {"x": images, "timestamps": stamps, "noise": noise, "mask": hidden.float(), "pred": out.pred["dated_images"]}
    numbers |= {"loss": out.loss} | weights_of(model, "satmae_temporal")
    meta = SIZES | {"in_chans": 2, "norm_pix_loss": normalized}
    write_numbers(path / "satmae_temporal.safetensors", numbers, meta={f"cfg/{name}": value for name, value in meta.items()})


@pytest.fixture(params=[True, False], ids=["normalised", "plain"])
def other_numbers(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    group_numbers(tmp_path, normalized=request.param, seed=3)
    temporal_numbers(tmp_path, normalized=request.param, seed=4)
    return tmp_path


def test_the_numbers_that_ship_agree() -> None:
    checks = list(certify(Published("mae_methods")))
    assert len(checks) == 8
    assert [check.name for check in checks if not check.passed] == []


def test_numbers_of_other_sizes_and_seeds_agree(other_numbers: Path) -> None:
    assert failing(checks_of(CERTIFICATE, other_numbers)) == []


@pytest.mark.parametrize(
    ("file", "tensor", "by", "check"),
    [
        ("satmae_group", "pred", 1e-4, "groups: prediction"),
        ("satmae_group", "loss", 1e-4, "groups: loss"),
        ("satmae_group", "mask", 1.0, "groups: mask"),
        ("satmae_temporal", "pred", 1e-4, "dates: prediction"),
        ("satmae_temporal", "loss", 1e-4, "dates: loss"),
    ],
)
def test_another_number_differs(tmp_path: Path, file: str, tensor: str, by: float, check: str) -> None:
    group_numbers(tmp_path, normalized=True, seed=5)
    temporal_numbers(tmp_path, normalized=True, seed=6)
    change_one_number(tmp_path / f"{file}.safetensors", tensor, by=by)
    assert check in failing(checks_of(CERTIFICATE, tmp_path))


def test_other_dates_give_another_prediction(tmp_path: Path) -> None:
    temporal_numbers(tmp_path, normalized=True, seed=6)
    change_one_number(tmp_path / "satmae_temporal.safetensors", "timestamps", by=1)
    assert "dates: prediction" in failing(checks_of(CERTIFICATE, tmp_path))


@pytest.mark.parametrize(
    ("recipe", "layout", "shapes"),
    [
        (
            "methods/satmae_group_large",
            "satmae_group",
            {
                "pos_embed": (1, 145, 768),
                "channel_embed": (1, 3, 256),
                "patch_embed.1.proj.weight": (1024, 4, 8, 8),
                "patch_embed.2.proj.weight": (1024, 2, 8, 8),
                "blocks.23.mlp.fc1.weight": (4096, 1024),
                "decoder_pos_embed": (1, 145, 384),
                "decoder_channel_embed": (1, 4, 128),
                "decoder_pred.0.weight": (256, 512),
                "decoder_pred.2.weight": (128, 512),
            },
        ),
        ("methods/satmae_group_base", "satmae_group", {"pos_embed": (1, 145, 512), "blocks.11.norm1.weight": (768,)}),
        (
            "methods/satmae_temporal_large",
            "satmae_temporal",
            {
                "pos_embed": (1, 197, 640),
                "patch_embed.proj.weight": (1024, 3, 16, 16),
                "decoder_pos_embed": (1, 197, 320),
                "decoder_pred.weight": (768, 512),
            },
        ),
    ],
)
def test_sizes_of_the_published_models(recipe: str, layout: str, shapes: dict[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        exported = export_state_dict(build_model(load_config(recipe)), layout=layout)
    assert {name: tuple(exported[name].shape) for name in shapes} == shapes


def test_positions_of_a_checkpoint_are_compared(tmp_path: Path) -> None:
    sections = {
        "encoder": BLOCKS,
        "modalities": {
            "multispectral": {
                "tokenizer": {"input_size": [8, 8], "patch_size": [4, 4]},
                "positions": {"group_width": 8},
                "decoder_positions": {"group_width": 4},
                "decoder": {"width": 16, "depth": 1, "heads": 2},
            }
        },
    }
    model = random_model("methods/satmae_group_large", sections, seed=0)
    exported = export_state_dict(model, layout="satmae_group")
    exported["decoder_channel_embed"][0, 3, 0] += 0.1
    with pytest.raises(MaeError, match="decoder_channel_embed: the checkpoint's positions differ"):
        import_state_dict(model, exported, layout="satmae_group")
