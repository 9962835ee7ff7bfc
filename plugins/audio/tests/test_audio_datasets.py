import pickle
from random import Random

import numpy as np
import pytest
import soundfile
import torch
from in_shards import in_shards

from mae_audio.datasets import AudioFolder
from mae_audio.demo import KINDS, SyntheticSounds, make_sound
from mae_audio.modality import AUDIO
from mae_core.interfaces import BadSample
from mae_registry import ConfigError

SHAPE = (1, 64, 32)


def save(path, *, seconds=0.5, seed=0, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))
    soundfile.write(path, noise, rate, format="WAV")


def test_audio_folder_takes_recordings_by_suffix(tmp_path):
    for name in ("a.WAV", "b/c.flac", "d.ogg", "e.mp3", "f.txt"):
        save(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path / "b")
    folder = AudioFolder(SHAPE, root=str(tmp_path))
    assert [folder.name(index) for index in range(len(folder))] == ["a.WAV", "b/c.flac", "d.ogg", "e.mp3"]
    with pytest.raises(ConfigError, match=r"add data\.audio\.root=DIR, a folder of recordings"):
        AudioFolder(SHAPE)
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
    with pytest.raises(BadSample, match=f"{tmp_path}/text.wav: it is not audio"):
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


def test_previews_are_the_beginnings(tmp_path):
    for number in range(4):
        save(tmp_path / f"{number}.wav", seed=number)
    folder = AudioFolder(SHAPE, root=str(tmp_path))
    previews = folder.previews(2)
    assert [preview.title for preview in previews] == ["0.wav", "2.wav"]
    assert torch.equal(previews[1].sample, folder.read(2))


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


def test_recordings_in_shards_are_those_of_the_folder(tmp_path):
    for name, rate in (("a/1.wav", 16_000), ("b/2.wav", 44_100), ("b/3.wav", 8_000)):
        save(tmp_path / "files" / name, seconds=1, rate=rate)
    root = in_shards(tmp_path / "files", tmp_path / "s", AUDIO, labels="folders")
    options = {"wave_mixup": 0.5, "freq_mask": 4}
    folder = AudioFolder(SHAPE, root=str(tmp_path / "files"), labels="folders", **options)
    for dataset in (AudioFolder(SHAPE, root=root, **options), AudioFolder(SHAPE, root=root, in_memory=True, **options)):
        for index in range(3):
            first, second = (part.load(index, random=Random(index)) for part in (folder, dataset))
            assert torch.equal(first.x, second.x)
            assert torch.equal(first.extras["label"], second.extras["label"])
    with pytest.raises(ConfigError, match=r"data\.audio\.wave_mixup .*needs data\.audio\.labels"):
        AudioFolder(SHAPE, root=str(tmp_path / "files"), wave_mixup=0.5)
