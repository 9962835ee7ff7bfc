"""The certificates of VideoMAE, VideoMAE V2 and MAE-ST, with the numbers that ship and with others."""

from pathlib import Path
from typing import Any

import pytest
import torch
from golden_files import change_one_number, checks_of, failing, random_model, weights_of, write_numbers

from mae_core.interfaces import Mask, Published
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_video.certificate import certify
from mae_video.masking import running_cells

CERTIFICATE = "mae_video.certificate:certify"


def model_of_other_sizes(recipe: str, seed: int, **video: Any) -> MaskedAutoencoder:
    encoder = {"width": 24, "depth": 3, "heads": 2, "mlp_ratio": 2}
    parts = {
        "tokenizer": {"input_size": [6, 32, 32], "patch_size": [2, 8, 8]},
        "decoder": {"width": 12, "depth": 1, "heads": 3, "mlp_ratio": 3},
        **video,
    }
    return random_model(recipe, {"encoder": encoder, "modalities": {"video": parts}}, seed=seed)


def outputs(model: MaskedAutoencoder, x: torch.Tensor, mask: Mask, **options: Any) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        out = model({"video": x}, masks={"video": mask}, **options)
    return {"x": x, "pred": out.pred["video"], "loss": out.loss}


def test_the_numbers_that_ship_agree() -> None:
    checks = list(certify(Published("mae_video")))
    assert len(checks) == 27
    assert [check.name for check in checks if not check.passed] == []


@pytest.fixture
def heads() -> dict[str, Any]:
    """What the files of VideoMAE state."""
    return {"cfg/encoder_num_heads": 2, "cfg/decoder_num_heads": 3}


def test_videomae_of_other_sizes_agrees_until_one_number_is_changed(tmp_path: Path, heads: dict[str, Any]) -> None:
    model = model_of_other_sizes("video/videomae_base", seed=1)
    mask = Mask.from_hidden(Mask.from_noise(torch.rand(2, 48), 9).hidden)  # in raster order
    numbers = outputs(model, torch.randn(2, 3, 6, 32, 32), mask) | {"mask": mask.hidden}
    write_numbers(tmp_path / "videomae.safetensors", numbers | weights_of(model, "videomae"), meta=heads)
    assert failing(checks_of(CERTIFICATE, tmp_path)) == []
    change_one_number(tmp_path / "videomae.safetensors", "pred", by=2e-5)
    assert failing(checks_of(CERTIFICATE, tmp_path)) == ["VideoMAE: prediction"]


def test_running_cells_of_any_phase_agree(tmp_path: Path, heads: dict[str, Any]) -> None:
    model = model_of_other_sizes("video/videomae_v2_base", seed=2)
    predicted = running_cells(model.parts("video").tokenizer.grid, torch.tensor([3, 0, 1]))
    hidden = Mask.from_noise(torch.rand(3, 48), 6)
    mask = hidden.asking(Mask.from_hidden(predicted).ids_predict)
    numbers = outputs(model, torch.randn(3, 3, 6, 32, 32), mask) | {"enc_mask": hidden.hidden, "dec_mask": ~predicted}
    write_numbers(tmp_path / "videomaev2.safetensors", numbers | weights_of(model, "videomae"), meta=heads)
    checks = checks_of(CERTIFICATE, tmp_path)
    assert failing(checks) == []
    assert checks["VideoMAE V2: running cells"].detail == "phases 3, 0, 1"


def test_cells_that_run_in_no_phase_differ(tmp_path: Path, heads: dict[str, Any]) -> None:
    model = model_of_other_sizes("video/videomae_v2_base", seed=2)
    still = running_cells(model.parts("video").tokenizer.grid, torch.tensor([0]))[:, :16].tile(1, 3)
    mask = Mask.from_noise(torch.rand(1, 48), 6).asking(Mask.from_hidden(still).ids_predict)
    numbers = outputs(model, torch.randn(1, 3, 6, 32, 32), mask) | {"enc_mask": mask.hidden, "dec_mask": ~still}
    write_numbers(tmp_path / "videomaev2.safetensors", numbers | weights_of(model, "videomae"), meta=heads)
    assert "VideoMAE V2: running cells" in failing(checks_of(CERTIFICATE, tmp_path))


def test_mae_st_of_other_sizes_agrees_until_one_number_is_changed(tmp_path: Path) -> None:
    model = model_of_other_sizes("video/mae_st_base", 3, target={"num_frames": 3, "normalize": "none"})
    noise = torch.rand(2, 48)
    mask = Mask.from_noise(noise, 11)
    numbers = outputs(model, torch.randn(2, 3, 6, 32, 32), mask, predict="all")
    numbers |= {"noise": noise, "mask": mask.hidden.float()}
    sizes = {"cfg/num_heads": 2, "cfg/decoder_num_heads": 3, "cfg/pred_t_dim": 3, "cfg/norm_pix_loss": False}
    write_numbers(tmp_path / "mae_st.safetensors", numbers | weights_of(model, "mae_st"), meta=sizes)
    assert failing(checks_of(CERTIFICATE, tmp_path)) == []
    change_one_number(tmp_path / "mae_st.safetensors", "loss", by=1e-4)
    assert failing(checks_of(CERTIFICATE, tmp_path)) == ["MAE-ST: loss"]
