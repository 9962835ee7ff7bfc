"""Every component of this plugin keeps the contract of its interface."""

import numpy as np
import pytest
import soundfile

from mae_core import Grid
from mae_core.testing import check_dataset, check_decoder, check_modality, check_positions, check_tokenizer

PATCHES = {"name": "spectrogram_patches", "input_size": [24, 40], "patch_size": [8, 4]}


@pytest.fixture
def recording(tmp_path):
    for index in range(2):
        wave = 0.1 * np.random.default_rng(index).standard_normal(12_000)
        soundfile.write(tmp_path / f"{index}.wav", wave, 16_000)
    return tmp_path / "0.wav"


@pytest.mark.parametrize(
    "section",
    [
        PATCHES,
        {**PATCHES, "input_size": [33, 7], "patch_size": [11, 7]},
        {**PATCHES, "input_size": [16, 20], "stride": [4, 2]},
        {**PATCHES, "mean": 3.0, "std": 0.5},
    ],
    ids=str,
)
def test_tokenizer(section):
    check_tokenizer(section)


def test_positions():
    check_positions("sincos_swapped", grid=Grid(t=5, f=3))


def test_decoder():
    section = {"name": "local_windows", "width": 16, "depth": 2, "heads": 2, "window": [2, 3], "shift": [1, 1]}
    check_decoder(section, tokenizer={**PATCHES, "input_size": [32, 24]})


def test_datasets(recording):
    check_dataset({"name": "audio_folder", "root": str(recording.parent)}, sample_shape=(1, 24, 40))
    check_dataset({"name": "synthetic_sounds", "count": 3}, sample_shape=(1, 24, 40))


def test_modality(recording):
    decoder = {"width": 16, "depth": 1, "heads": 2, "window": [3, 5], "shift": [1, 0]}
    check_modality("audio", {"tokenizer": PATCHES, "decoder": decoder}, file=recording)
