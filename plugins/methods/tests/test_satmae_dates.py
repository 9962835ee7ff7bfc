"""SatMAE's images at several dates: the dates reach positions of encoder and decoder, and travel through a training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from running import assert_same_bits, interrupt_at, run
from torch import Tensor

from mae_core import Grid, build_model, load_config
from mae_core.config import Config
from mae_core.interfaces import Sample
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.runs.checkpoint import load_newest
from mae_core.testing import check_modality, check_positions
from mae_core.training.interrupts import Interrupted
from mae_methods.satmae.positions import DatePositions
from mae_registry import ConfigError, MaeError

GRID = Grid(t=3, h=2, w=3)
DATES = {"name": "satmae_dates", "unit_width": 8}
PARTS: dict[str, Any] = {
    "tokenizer": {"input_size": [3, 8, 8], "patch_size": [1, 4, 4]},
    "positions": DATES,
    "masker": {"name": "random", "over": ["t"], "ratio": 0.66},
    "decoder": {"width": 32, "depth": 1, "heads": 2},
    "decoder_positions": DATES,
}
ENCODER = {"name": "vit", "width": 32, "depth": 1, "heads": 2}


def model(**parts: Any) -> MaskedAutoencoder:
    torch.manual_seed(0)
    return build_model(load_config({"model": {"encoder": ENCODER, "modalities": {"dated_images": {**PARTS, **parts}}}}))


def stamps(batch_size: int, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(number, (batch_size, 3), generator=generator) for number in (18, 12, 24)], dim=-1)


def images_of(dates: Tensor) -> Tensor:
    """(B, images, 3) -> (B, 3, images, 8, 8): every image is of one colour, which its date decides."""
    colours = torch.sin(dates * torch.tensor([0.35, 0.52, 0.26])).transpose(1, 2)
    return colours[..., None, None].expand(-1, -1, -1, 8, 8).contiguous()


def test_positions() -> None:
    check_positions(DATES, grid=GRID, width=40, extras={"timestamps": stamps(3)})


def test_modality() -> None:
    sample = Sample(torch.rand(3, 3, 3, 8, 8), {"timestamps": stamps(3)})
    narrow = {"unit_width": 4}
    parts = {**PARTS, "masker": {"ratio": 0.75}, "positions": narrow, "decoder_positions": narrow}
    check_modality("dated_images", parts, sample=sample)


def test_a_position_depends_on_the_date_of_its_own_image_alone() -> None:
    positions, ids = DatePositions(GRID, 40, unit_width=8), torch.arange(18).expand(2, -1)
    before = stamps(2)
    after = before.clone()
    after[1, 2, 1] += 1  # the month of the last image of the second sample
    changed = positions(ids, {"timestamps": before}) != positions(ids, {"timestamps": after})
    assert changed[1, 12:, 24:32].any(dim=-1).all()
    changed[1, 12:, 24:32] = False
    assert not changed.any()


def test_positions_of_ids_in_any_order() -> None:
    positions, extras = DatePositions(GRID, 40, unit_width=8), {"timestamps": stamps(2)}
    every, ids = torch.arange(18).expand(2, -1), torch.stack([torch.randperm(18), torch.randperm(18)])
    expected = positions(every, extras).gather(1, ids.unsqueeze(-1).expand(-1, -1, 40))
    assert torch.equal(positions(ids, extras), expected)


@pytest.mark.parametrize(
    ("extras", "message"),
    [({}, "the dataset must load Sample"), ({"timestamps": stamps(2)[:, :2]}, r"must be \(2, 3, 3\)")],
)
def test_dates_that_are_missing_or_of_another_shape(extras: Mapping[str, Tensor], message: str) -> None:
    with pytest.raises(MaeError, match=message):
        model()({"dated_images": Sample(torch.rand(2, 3, 3, 8, 8), extras)})


def test_dates_that_leave_no_columns_for_the_place() -> None:
    with pytest.raises(ConfigError, match=r"dated_images\.decoder_positions.*3 x unit_width is 48; of the 32 columns"):
        model(decoder_positions={"unit_width": 16})


def test_a_decoder_that_sees_the_dates_learns_what_one_without_them_cannot() -> None:
    """Whole images are hidden; what they look like depends on their dates, which visible tokens do not have."""
    seeing, blind = (_loss_after_training(positions) for positions in (DATES, {"name": "sincos"}))
    assert seeing < 0.2
    assert blind > 0.4  # the variance of the colours is 0.5


def _loss_after_training(decoder_positions: dict[str, Any], *, num_steps: int = 150) -> float:
    trained, generator = model(decoder_positions=decoder_positions), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=3e-3)
    losses = []
    for step in range(num_steps):
        dates = stamps(32, seed=step)
        out = trained({"dated_images": Sample(images_of(dates), {"timestamps": dates})}, generator=generator)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        losses.append(out.loss.item())
    return sum(losses[-20:]) / 20


def config(*overrides: str) -> Config:
    """Six steps of four samples."""
    recipe = {
        "model": {"encoder": ENCODER, "modalities": {"dated_images": PARTS}},
        "data": {"dated_images": {"name": "satmae_synthetic_dates", "count": 12}},
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "schedule": {"name": "cosine", "warmup_epochs": 0},
        "train": {"epochs": 2, "batch_size": 4, "num_workers": 0, "checkpoint_steps": 2, "num_pictures": 1, "seed": 3},
    }
    return load_config(recipe, overrides)


def final_weights(folder: Path) -> dict[str, Tensor]:
    checkpoint = load_newest(folder)
    assert checkpoint is not None
    assert checkpoint.step == 6
    return dict(checkpoint.model)


def test_dates_travel_through_workers_micro_batches_and_resume(tmp_path: Path) -> None:
    run(config(), tmp_path / "whole")
    run(config("train.num_workers=2"), tmp_path / "workers")
    assert_same_bits(final_weights(tmp_path / "workers"), final_weights(tmp_path / "whole"))
    with pytest.raises(Interrupted):
        run(config(), tmp_path / "resumed", on_step=interrupt_at(3))
    run(config(), tmp_path / "resumed", resume=True)
    assert_same_bits(final_weights(tmp_path / "resumed"), final_weights(tmp_path / "whole"))
    run(config("train.device_batch_size=1"), tmp_path / "micro")
    whole, micro = final_weights(tmp_path / "whole"), final_weights(tmp_path / "micro")
    for name in whole:  # a key bias has no true gradient: Adam amplifies the rounding there
        tolerance = 1e-3 if name.endswith("qkv.bias") else 2e-5
        torch.testing.assert_close(micro[name], whole[name], rtol=0, atol=tolerance)
    assert (tmp_path / "whole" / "pictures" / "step-00000006-dated_images.png").is_file()
