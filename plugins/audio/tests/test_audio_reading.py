import math
import tarfile
from fractions import Fraction
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.compliance import kaldi

from mae_audio.fbank import FLOOR, fbank, mel_bank, num_samples
from mae_audio.reading import _ratio, read_spectrogram, read_wave, to_spectrogram
from mae_core.interfaces import BadSample
from mae_registry import ConfigError

DIGITS = Path(__file__).resolve().parents[4] / "shared/data/free-spoken-digits.tar.gz"
SILENCE = math.log(FLOOR)


def tone(hertz=440.0, seconds=1.0, rate=16_000, level=0.3):
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def published_fbank(wave, num_mels=128):
    options = {"use_energy": False, "window_type": "hanning", "num_mel_bins": num_mels, "dither": 0.0, "frame_shift": 10}
    return kaldi.fbank(wave[None], htk_compat=True, sample_frequency=16_000, **options)


def peak_hertz(wave, rate=16_000):
    return float(np.abs(np.fft.rfft(wave)).argmax() * rate / len(wave))


@pytest.mark.parametrize("num_mels", [128, 64, 5])
@pytest.mark.parametrize("sound", ["noise", "tone", "sweep", "click", "silence", "whisper", "loud"])
def test_fbank_is_torchaudios(sound, num_mels):
    seconds = torch.arange(24_000) / 16_000
    noise = torch.randn(24_000, generator=torch.Generator().manual_seed(0))
    wave = {
        "noise": 0.1 * noise,
        "tone": torch.sin(2 * torch.pi * 440 * seconds),
        "sweep": torch.sin(2 * torch.pi * (100 + 900 * seconds) * seconds),
        "click": torch.nn.functional.pad(torch.ones(1), (12_000, 11_999)),
        "silence": torch.zeros(24_000),
        "whisper": 1e-5 * noise,
        "loud": 100 * noise,
    }[sound]
    found = fbank(wave, num_mels)
    assert found.dtype == torch.float32
    assert torch.allclose(found, published_fbank(wave, num_mels), atol=1e-5, rtol=0)


@settings(deadline=None)  # a busy machine
@given(length=st.integers(400, 3000))
def test_any_length_of_a_frame_or_more(length):
    wave = torch.randn(length, generator=torch.Generator().manual_seed(length))
    found = fbank(wave, 16)
    assert torch.allclose(found, published_fbank(wave, 16), atol=1e-5, rtol=0)
    assert num_samples(len(found)) <= length < num_samples(len(found) + 1)


@pytest.mark.parametrize(("seconds", "num_frames"), [(10, 998), (5, 498), (1, 98)])
def test_published_numbers_of_frames(seconds, num_frames):
    assert len(fbank(torch.zeros(16_000 * seconds), 4)) == num_frames


def test_a_batch_is_its_clips():
    waves = torch.randn(2, 3, 8000, generator=torch.Generator().manual_seed(0))
    together = fbank(waves, 64)
    assert together.shape == (2, 3, 48, 64)
    apart = torch.stack([torch.stack([fbank(wave, 64) for wave in row]) for row in waves])
    assert torch.allclose(together, apart, atol=1e-5, rtol=0)


def test_too_few_mel_bins():
    with pytest.raises(ConfigError, match="a spectrogram of 3 mel bins is too coarse; use at least 4"):
        mel_bank(3)


def test_short_clips_are_padded_after_the_filter_bank_and_long_ones_cut():
    wave = torch.from_numpy(tone()).float()
    spectrogram = to_spectrogram(wave, 128, 64)
    assert spectrogram.shape == (1, 128, 64)
    assert torch.equal(spectrogram[0, 98:], torch.zeros(30, 64))
    expected = published_fbank(wave - wave.mean(), 64)
    assert torch.allclose(spectrogram[0, :98], expected, atol=1e-5)
    assert torch.allclose(to_spectrogram(wave, 50, 64)[0], expected[:50], atol=1e-3)  # another mean is taken off


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_every_format_and_rate_keeps_pitch_and_level(suffix, rate, tmp_path):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([tone(rate=rate), tone(rate=rate)], axis=1), rate)
    wave = read_wave(path).numpy()
    assert len(wave) == pytest.approx(16_000, rel=0.15)  # mp3 and its padding
    assert peak_hertz(wave) == pytest.approx(440, abs=1.5)
    assert np.abs(wave[4000:12_000]).max() == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize("rate", [2000, 11_025, 22_050, 22_254, 44_101, 96_000, 384_000])
def test_odd_rates(rate, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(200, rate=rate), rate)
    wave = read_wave(tmp_path / "a.wav").numpy()
    assert abs(len(wave) - 16_000) <= 2
    assert peak_hertz(wave) == pytest.approx(200, abs=1.5)
    assert abs(_ratio(rate, "") * Fraction(rate, 16_000) - 1) < 1e-5


def test_channels_are_averaged(tmp_path):
    left, right = tone(300), tone(1000, level=0.1)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    assert np.allclose(read_wave(tmp_path / "a.wav").numpy(), (left + right) / 2, atol=1e-6)


def test_parts_of_long_files(tmp_path):
    wave = np.arange(50_000, dtype=np.float32) / 50_000
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")

    def first(seed):
        part = read_wave(tmp_path / "a.wav", max_samples=10_000, random=Random(seed))
        start = round(float(part[0]) * 50_000)
        assert np.array_equal(part.numpy(), wave[start : start + 10_000])
        return start

    starts = [first(seed) for seed in range(60)]
    assert starts == [first(seed) for seed in range(60)]
    assert min(starts) < 5000
    assert max(starts) > 35_000
    assert np.array_equal(read_wave(tmp_path / "a.wav", max_samples=10_000).numpy(), wave[:10_000])
    assert len(read_wave(tmp_path / "a.wav", max_samples=90_000, random=Random(0))) == 50_000


def test_read_spectrogram_takes_the_beginning(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(seconds=3), 16_000)
    found = read_spectrogram(tmp_path / "a.wav", SimpleNamespace(sample_shape=(1, 100, 64)))
    assert found.dtype == torch.float32
    assert torch.equal(found, to_spectrogram(read_wave(tmp_path / "a.wav")[: num_samples(100)], 100, 64))
    with pytest.raises(ConfigError, match=r"a spectrogram has the shape \(1, frames, mels\); the tokenizer takes \(3, 8, 8\)"):
        read_spectrogram(tmp_path / "a.wav", SimpleNamespace(sample_shape=(3, 8, 8)))


def test_silence_is_legal(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    found = read_spectrogram(tmp_path / "a.wav", SimpleNamespace(sample_shape=(1, 128, 64)))
    assert found[0, :98].unique().tolist() == [pytest.approx(SILENCE)]
    assert (found[0, 98:] == 0).all()


def test_8_khz_has_nothing_above_4_khz(tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000)
    soundfile.write(tmp_path / "a.wav", noise, 8000)
    found = read_spectrogram(tmp_path / "a.wav", SimpleNamespace(sample_shape=(1, 98, 128)))[0]
    upper = int((mel_bank(128).argmax(dim=0) >= 128).float().argmax())  # the first bin above 4 kHz
    assert 80 < upper < 110
    assert found[:, : upper - 8].mean() - found[:, upper + 8 :].mean() > 6  # more than 26 dB


def test_one_frame_is_enough_and_less_is_not(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone()[:400], 16_000)
    assert len(read_wave(tmp_path / "a.wav")) == 400
    for num, rate, seconds in ((399, 16_000, "0.02494"), (0, 16_000, "0"), (0, 44_100, "0"), (10, 8000, "0.00125")):
        soundfile.write(tmp_path / "b.wav", tone()[:num], rate)
        with pytest.raises(BadSample) as caught:
            read_wave(tmp_path / "b.wav")
        assert str(caught.value) == f"{tmp_path}/b.wav: {seconds} s of audio are shorter than one frame, 0.025 s"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_that_are_no_sound(value, tmp_path):
    wave = tone().astype(np.float32)
    wave[77] = value
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    with pytest.raises(BadSample, match=f"{tmp_path}/a.wav: it contains samples that are NaN, infinite or far out of range"):
        read_wave(tmp_path / "a.wav")


def test_what_is_no_audio(tmp_path):
    (tmp_path / "text.wav").write_text("this is a letter, not a sound")
    (tmp_path / "empty.mp3").touch()
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "junk.mp3").write_bytes(np.random.default_rng(0).bytes(5000))
    soundfile.write(tmp_path / "slow.wav", tone()[:4000], 1000)
    for name, reason in (
        ("text.wav", "it is not audio, or has a format that cannot be read: Format not recognised."),
        ("empty.mp3", "the file is empty"),
        ("folder.wav", "the file cannot be read"),
        ("missing.wav", "the file cannot be read: No such file or directory"),
        ("junk.mp3", "it is not audio, or has a format that cannot be read: "),
        ("slow.wav", "its sample rate of 1000 Hz is not one for sound (2000 to 384000 Hz)"),
    ):
        with pytest.raises(BadSample) as caught:
            read_wave(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: {reason}")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["AIFF", "AU", "CAF", "W64"])
def test_formats_that_are_not_documented_are_not_read_whatever_a_file_is_called(kind, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), 16_000, format=kind)
    with pytest.raises(BadSample, match=rf"its format, {kind}, is not one that can be read"):
        read_wave(tmp_path / "a.wav")


def test_whatever_a_decoder_raises_is_a_bad_sample(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(), 16_000)

    def fail(*_, **__):
        raise SystemError("of\nC")

    monkeypatch.setattr(soundfile.SoundFile, "read", fail)
    with pytest.raises(BadSample, match="cannot be decoded: of C"):
        read_wave(tmp_path / "a.wav")


@pytest.mark.parametrize("suffix", ["flac", "mp3"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_truncated_files(suffix, share, tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal(48_000)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noise, 16_000)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(BadSample, match=rf"{path}: the audio (cannot be decoded|is truncated): "):
        read_wave(path)


def test_damaged_and_endless_files(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(48_000), 16_000)
    whole = path.read_bytes()
    path.write_bytes(whole[:9000] + b"\xff" * 300 + whole[9300:])
    with pytest.raises(BadSample, match="the audio cannot be decoded"):
        read_wave(path)
    # STREAMINFO's 36 bits of the number of samples, zero: not known
    path.write_bytes(whole[:21] + bytes([whole[21] & 0xF0]) + bytes(4) + whole[26:])
    with pytest.raises(BadSample, match="its header does not say how long it is; encode it again"):
        read_wave(path, max_samples=1000, random=Random(0))


@pytest.mark.data
@pytest.mark.skipif(not DIGITS.is_file(), reason=f"no {DIGITS}")
def test_real_recordings(tmp_path):
    with tarfile.open(DIGITS) as archive:
        members = [member for member in archive.getmembers() if member.name.endswith("_0.wav")][:30]
        archive.extractall(tmp_path, members, filter="data")
    paths = sorted(tmp_path.rglob("*.wav"))
    assert len(paths) == 30
    for path in paths:
        assert soundfile.info(path).samplerate == 8000
        spectrogram = read_spectrogram(path, SimpleNamespace(sample_shape=(1, 128, 128)))
        wave = read_wave(path)
        num_frames = min(128, 1 + (len(wave) - 400) // 160)
        expected = published_fbank(wave[: num_samples(128)] - wave[: num_samples(128)].mean())
        assert torch.allclose(spectrogram[0, :num_frames], expected[:num_frames], atol=1e-5)
        assert spectrogram.isfinite().all()
        assert -14 < float(spectrogram[0, :num_frames, :64].mean()) < 0
