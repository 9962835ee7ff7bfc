"""`mae statistics` on a folder of recordings."""

import numpy as np
import pytest
import soundfile
import torch

from mae_audio.reading import to_spectrogram
from mae_core import load_config

SHAPE = ["model.modalities.audio.tokenizer.input_size=[96, 32]"]


@pytest.fixture
def measure(forks):
    return lambda *overrides: forks.mae("statistics", "audio/audiomae_base", *SHAPE, *overrides)


def test_mean_and_standard_deviation_of_a_folder(measure, tmp_path):
    for number, seconds in enumerate((0.5, 0.96, 2.0)):
        wave = 0.1 * np.random.default_rng(number).standard_normal(int(16_000 * seconds))
        soundfile.write(tmp_path / f"{number}.wav", wave, 16_000)
    (tmp_path / "bad.wav").write_text("no sound")
    done = measure(f"data.audio.root={tmp_path}")
    waves = [torch.from_numpy(soundfile.read(tmp_path / f"{n}.wav", dtype="float32")[0]) for n in range(3)]
    values = torch.cat([to_spectrogram(wave, 96, 32) for wave in waves]).double()
    assert done.returncode == 0, done.stderr
    found = dict(line.rsplit("=", 1) for line in done.stdout.splitlines())
    assert float(found["model.modalities.audio.tokenizer.mean"]) == pytest.approx(float(values.mean()), abs=1e-6)
    assert float(found["model.modalities.audio.tokenizer.std"]) == pytest.approx(float(values.std(correction=0)), abs=1e-6)
    assert f"skipped: {tmp_path}/bad.wav: it is not audio" in done.stderr.replace("\n", "")
    assert load_config("audio/audiomae_base", done.stdout.splitlines())["model.modalities.audio.tokenizer.std"] > 0


def test_nothing_to_measure(measure, tmp_path):
    missing = measure(f"data.audio.root={tmp_path}/none")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert f"error: data.audio.root: there is no folder {tmp_path}/none" in missing.stderr.replace("\n", "")
    (tmp_path / "bad.wav").touch()
    assert "error: there is no spectrogram to measure" in measure(f"data.audio.root={tmp_path}").stderr
