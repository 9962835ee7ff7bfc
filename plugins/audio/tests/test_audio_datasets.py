import os
import pickle
from random import Random

import numpy as np
import pytest
import soundfile
import torch

from mae_audio.datasets import AudioFolder
from mae_audio.synthetic import KINDS, SyntheticSounds, make_sound
from mae_core.interfaces import BadSample
from mae_registry import ConfigError

SHAPE = (1, 64, 32)


def save(path, *, seconds=0.5, seed=0, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))
    soundfile.write(path, noise, rate, format="WAV")


def test_audio_folder_lists_by_suffix_in_order(tmp_path):
    wanted = ["Z.WAV", "a/b/x.Flac", "a/y.ogg", "b.mp3", "ü.wav"]
    for name in [*wanted, "a/._y.wav", ".hidden/x.wav", "a/notes.txt", "wav"]:
        save(tmp_path / name)
    folder = AudioFolder(SHAPE, root=str(tmp_path))
    found = [os.path.relpath(folder.describe(index), tmp_path) for index in range(len(folder))]
    assert found == sorted(wanted, key=os.fsencode)


def test_audio_folder_takes_names_that_are_not_utf8(tmp_path):
    save(tmp_path / "a.wav")
    os.rename(tmp_path / "a.wav", os.path.join(os.fsencode(tmp_path), b"caf\xe9.wav"))
    folder = AudioFolder(SHAPE, root=str(tmp_path))
    assert os.fsencode(folder.describe(0)).endswith(b"/caf\xe9.wav")
    assert folder.load(0, random=Random(0)).shape == SHAPE


def test_audio_folder_errors_say_what_is_wrong_and_where(tmp_path):
    (tmp_path / "file.wav").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").touch()
    for root, message in (
        (None, "audio_folder does not know where the data are: give data.audio.root=DIR, a folder of recordings"),
        (tmp_path / "none", f"data.audio.root: {tmp_path}/none does not exist"),
        (tmp_path / "file.wav", f"data.audio.root: {tmp_path}/file.wav is a file; give the folder that holds the recordings"),
        (
            tmp_path / "other",
            f"data.audio.root: {tmp_path}/other holds 1 other files but no recordings; read are .wav, .flac, .ogg, .mp3",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            AudioFolder(SHAPE, root=root and str(root))
        assert str(caught.value) == message
    with pytest.raises(ConfigError, match="a spectrogram has the shape"):
        AudioFolder((3, 32, 32), root=str(tmp_path))


def test_audio_folder_load_depends_on_its_arguments_alone(tmp_path):
    save(tmp_path / "long.wav", seconds=2)
    save(tmp_path / "short.wav", seconds=0.3, rate=8000)
    (tmp_path / "text.wav").write_text("no sound")
    folder = pickle.loads(pickle.dumps(AudioFolder(SHAPE, root=str(tmp_path))))
    for index in (0, 1):
        sample = folder.load(index, random=Random(5))
        assert sample.dtype == torch.float32
        assert sample.shape == SHAPE
        torch.manual_seed(1)
        np.random.seed(1)
        assert torch.equal(folder.load(index, random=Random(5)), sample)
        assert not torch.equal(folder.load(index, random=Random(6)), sample)
    assert (sample[0, 28:] == 0).all()
    with pytest.raises(BadSample, match=f"{tmp_path}/text.wav: not audio"):
        folder.load(2, random=Random(0))


def test_loudness_is_the_only_augmentation_of_short_clips(tmp_path):
    save(tmp_path / "a.wav", seconds=0.3)
    plain = AudioFolder(SHAPE, root=str(tmp_path), roll_mag_aug=False)
    loud = AudioFolder(SHAPE, root=str(tmp_path))
    same = plain.load(0, random=Random(0))
    assert torch.equal(plain.load(0, random=Random(1)), same)
    assert torch.equal(plain.previews(1)[0].sample, same)
    gains = []
    for seed in range(200):
        more = (loud.load(0, random=Random(seed)) - same)[0, :28]
        assert float(more.max() - more.min()) < 1e-2  # the logarithm of one factor
        gains.append(float((more.mean() / 2).exp()))
    assert np.mean(gains) == pytest.approx(1.0, abs=0.03)  # 0.5 + Beta(10, 10)
    assert np.std(gains) == pytest.approx((1 / 84) ** 0.5, rel=0.2)


def test_previews_are_spread_and_skip_what_cannot_be_read(tmp_path):
    for number in range(10):
        save(tmp_path / f"{number}.wav", seed=number)
    folder = AudioFolder(SHAPE, root=str(tmp_path))
    assert [(p.title, p.note) for p in folder.previews(2)] == [("0.wav", "training"), ("5.wav", "training")]
    (tmp_path / "5.wav").write_text("")
    assert [p.title for p in folder.previews(2)] == ["0.wav"]
    assert len(folder.previews(99)) == 9


def test_synthetic_sounds_are_the_same_every_time_and_held_out_ones_are_others():
    train, other = SyntheticSounds(SHAPE, count=8), SyntheticSounds(SHAPE, split="held_out", count=8)
    assert len(train) == 8
    assert torch.equal(train.load(3, random=Random(1)), train.load(3, random=Random(1)))
    assert not torch.equal(train.load(3, random=Random(1)), train.load(3, random=Random(2)))
    assert train.describe(5) == "notes train 5"
    previews = train.previews(4)
    assert [(p.title, p.note) for p in previews] == [
        ("chirp 0", "held out"),
        ("notes 1", "held out"),
        ("rhythm 2", "held out"),
        ("noise_bursts 3", "held out"),
    ]
    trained = [p.sample for p in other.previews(8)]
    for preview in previews:
        assert preview.sample.shape == SHAPE
        assert all((preview.sample - sample).abs().mean() > 0.1 for sample in trained)


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_synthetic_sounds_are_sounds(kind):
    waves = [make_sound("train", kind + len(KINDS) * i, 20_000) for i in range(25)]
    for wave in waves:
        assert wave.shape == (20_000,)
        assert 0.45 < float(wave.abs().max()) < 0.55
    assert len({float(wave[10_000]) for wave in waves}) == 25
