import numpy as np
import pytest
import torch
from PIL import Image

from mae_core import build_model, load_config
from mae_core.interfaces import Preview, Reconstruction
from mae_core.pictures.panels import panels
from mae_core.pictures.reconstruction import reconstruct
from mae_registry import MaeError
from mae_video.pictures import animate, chosen_frames, compose, write_picture


def reconstruction(*, num_frames=8, side=64, raw=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (3, num_frames, side, side)
    hidden = torch.zeros(1, num_frames, side, side, dtype=torch.bool)
    hidden[:, :, : side // 2] = True
    values = 4 * torch.randn(shape, generator=generator) if raw else None
    prediction = 3 * torch.rand(shape, generator=generator) - 1
    return Reconstruction(
        "clip.mp4", "held out", torch.rand(shape, generator=generator), hidden, prediction, values, 0.9, 0.4321
    )


def test_frames_of_which_nothing_is_predicted_are_left_out():
    shown = reconstruction()
    shown.prediction[:, 1::2] = torch.nan
    assert chosen_frames(shown) == [0, 2, 4, 6]


def test_frames_are_spread_over_the_clip():
    assert chosen_frames(reconstruction(num_frames=16)) == [0, 3, 6, 9, 12, 15]
    assert chosen_frames(reconstruction(num_frames=2)) == [0, 1]


def test_the_picture_shows_the_frames_where_it_says(tmp_path):
    rows = [reconstruction(seed=seed) for seed in range(2)]
    write_picture(rows, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture)
    sheet = compose(rows)
    assert np.array_equal(pixels, np.asarray(sheet.picture()))
    frame = (rows[0].sample[:, 7] * 255).round().byte().permute(1, 2, 0).numpy()  # the last column, the first row
    left, top = sheet.origin(0, 5)
    assert np.array_equal(pixels[top : top + 128 : 2, left : left + 128 : 2], frame)


def test_the_gif_moves_beside_the_png(tmp_path):
    rows = [reconstruction(seed=seed) for seed in range(6)]
    write_picture(rows, tmp_path / "a.png")
    pictures = animate(rows)
    assert len(pictures) == 8
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.info["loop"]) == (8, 0)
        assert gif.size == pictures[0].size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "a.png"]


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MaeError, match="cannot write"):
        write_picture([reconstruction(num_frames=2, side=16)], tmp_path / "file" / "a.png")


@pytest.mark.parametrize(
    ("recipe", "video", "gaps"),
    [
        ("videomae_base", {}, False),
        ("videomae_v2_base", {}, True),
        ("mae_st_base", {"target": {"num_frames": 2}}, True),
    ],
)
def test_every_published_model_can_be_shown(recipe, video, gaps, tmp_path):
    parts = {
        "tokenizer": {"input_size": [4, 64, 64]},
        "decoder": {"width": 16, "depth": 1, "heads": 2},
        "masker": {"ratio": 0.5},
        **video,
    }
    encoder = {"width": 24, "depth": 1, "heads": 2}
    model = build_model(
        load_config({"extends": f"video/{recipe}", "model": {"encoder": encoder, "modalities": {"video": parts}}})
    )
    sample = torch.randint(256, (3, 4, 64, 64), dtype=torch.uint8)
    rows = reconstruct(model, "video", [Preview("clip.mp4", sample)])
    assert bool(rows[0].prediction.isnan().any()) == gaps
    assert any("not predicted" in panel.heading for panel in panels(rows[0])) == gaps
    write_picture(rows, tmp_path / "a.png")
    assert (tmp_path / "a.gif").exists()
