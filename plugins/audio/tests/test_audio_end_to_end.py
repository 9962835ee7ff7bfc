"""Recipes, and the plugin's parts together in the core."""

from random import Random

import numpy as np
import pytest
import soundfile
import torch

from mae_audio.demo import SyntheticSounds
from mae_audio.pictures import write_picture
from mae_audio.reading import read_spectrogram
from mae_core import build_model, load_config
from mae_core.interfaces import Mask, Masker, Preview
from mae_core.pictures.reconstruction import reconstruct


def demo(**tokenizer):
    small = {"encoder": {"width": 32, "depth": 1, "heads": 2}}
    parts = {"tokenizer": tokenizer, "decoder": {"width": 32, "depth": 1, "heads": 2}}
    return build_model(load_config({"extends": "demo/audio", "model": {**small, "modalities": {"audio": parts}}}))


@pytest.mark.parametrize(
    ("name", "frames", "grid", "mean", "std"),
    [
        ("audiomae_base", 1024, (64, 8), -4.2677393, 4.5689974),
        ("audiomae_esc50", 512, (32, 8), -6.6268077, 5.358466),
        ("audiomae_speech_commands", 128, (8, 8), -6.845978, 5.5654526),
    ],
)
def test_the_published_recipes(name, frames, grid, mean, std):
    cfg = load_config(f"audio/{name}")
    parts = cfg["model.modalities.audio"]
    assert [cfg[f"model.encoder.{key}"] for key in ("width", "depth", "heads")] == [768, 12, 12]
    assert [parts["tokenizer"][key] for key in ("input_size", "mean", "std")] == [(frames, 128), mean, std]
    assert [parts["decoder"][key] for key in ("name", "width", "depth", "heads")] == ["local_windows", 512, 16, 16]
    assert (parts["masker"]["ratio"], parts["target"]["normalize"]) == (0.8, "patch")
    optimizer = cfg["optimizer"]
    assert [optimizer[key] for key in ("base_lr", "base_batch", "betas", "weight_decay")] == [2e-4, 256, (0.9, 0.95), 1e-4]
    assert (cfg["schedule.warmup_epochs"], cfg["train.epochs"], cfg["train.batch_size"]) == (3, 33, 512)
    with torch.device("meta"):
        assert build_model(cfg).parts("audio").tokenizer.grid.sizes == grid


def test_the_demos_normalisation_fits_its_sounds():
    data = SyntheticSounds((1, 128, 64))
    tokenizer = demo().parts("audio").tokenizer
    x = torch.stack([tokenizer.normalize(data.load(index, random=Random(index))) for index in range(200)])
    assert float(x.mean()) == pytest.approx(0, abs=0.05)
    assert float(x.std()) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("normalize", ["patch", "none"])
def test_silence_and_padding_give_finite_losses(normalize):
    recipe = {"extends": "demo/audio", "model": {"modalities": {"audio": {"target": {"normalize": normalize}}}}}
    model = build_model(load_config(recipe))
    x = model.parts("audio").tokenizer.normalize(torch.stack([torch.full((1, 128, 64), -15.94), torch.zeros(1, 128, 64)]))
    loss = model({"audio": x}, generator=torch.Generator().manual_seed(0)).loss
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("stride", [None, [4, 8]])
def test_a_file_becomes_a_picture(stride, tmp_path):
    model = demo(stride=stride)
    tokenizer = model.parts("audio").tokenizer
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
    sample = read_spectrogram(tmp_path / "a.wav", tokenizer)
    rows = reconstruct(model, "audio", [Preview("a.wav", sample)])
    assert torch.allclose(rows[0].sample, sample, atol=1e-4)
    write_picture(rows, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_where_patches_overlap_only_what_all_of_them_hide_is_hidden():
    model = demo(stride=[4, 8])
    tokenizer = model.parts("audio").tokenizer
    assert tokenizer.grid.sizes == (31, 8)
    mask = Mask.from_hidden(torch.arange(31 * 8)[None] >= 8)  # of the first 8 frames the first patches are kept

    class KeepFirst(Masker):
        def forward(self, grid, batch_size, *, generator):
            return mask

    (row,) = reconstruct(model, "audio", [Preview("a", torch.randn(1, 128, 64))], masker=KeepFirst())
    assert not row.hidden[0, :8].any()
    assert row.hidden[0, 8:].all()
