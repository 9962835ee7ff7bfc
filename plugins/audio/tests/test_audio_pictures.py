import dataclasses
import math
import textwrap

import matplotlib
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from mae_audio.demo import make_sound
from mae_audio.fbank import fbank, num_samples
from mae_audio.pictures import MAX_HEADING, MAX_TITLE, compose, sounds, write_picture
from mae_audio.reading import to_spectrogram
from mae_audio.sounds import to_wave
from mae_core.interfaces import Reconstruction
from mae_core.pictures.panels import panels
from mae_registry import MaeError


def sine(hertz, num=24_000, level=0.3):
    return level * torch.sin(2 * torch.pi * hertz * torch.arange(num) / 16_000)


def peak_hertz(wave):
    return float(np.abs(np.fft.rfft(wave)).argmax() * 16_000 / len(wave))


def reconstruction(*, raw=True, frames=64, mels=32, title="bird.wav", original=None):
    generator = torch.Generator().manual_seed(0)
    sample = to_spectrogram(sine(700), frames, mels) if original is None else original
    shape = sample.shape
    hidden = torch.zeros(1, *shape[1:], dtype=torch.bool)
    hidden[:, : shape[1] // 2] = True
    values = torch.randn(shape, generator=generator) if raw else None
    prediction = sample + torch.randn(shape, generator=generator)
    return Reconstruction(title, "held out", sample, hidden, prediction, values, 0.75, 0.4321)


@pytest.mark.parametrize("raw", [True, False])
def test_axes_are_seconds_and_mel_bins(raw):
    rows = [reconstruction(raw=raw), reconstruction(raw=raw, title="x" * 40 + "$_{ü}.wav")]
    figure = compose(rows)
    num_columns = 5 if raw else 4
    tiles = figure.axes[: 2 * num_columns]
    shown = panels(rows[0])
    for tile, panel in zip(tiles, shown + panels(rows[1]), strict=True):
        (image,) = tile.images
        assert np.array_equal(np.ma.filled(image.get_array(), np.nan), panel.values[0].T.numpy(), equal_nan=True)
        assert image.get_extent() == [0, 0.64, 0, 32]
        assert image.origin == "lower"
    headings = [textwrap.fill(panel.heading, MAX_HEADING) for panel in shown]
    assert [tile.get_title() for tile in tiles[:num_columns]] == headings
    assert all(tile.get_xlabel() == "seconds" for tile in tiles[num_columns:])
    assert tiles[0].get_ylabel() == "1: bird.wav\nheld out\nmask ratio 75%\nloss 0.4321\nmel bin"
    title = tiles[num_columns].get_ylabel().splitlines()[0]
    assert title.endswith("$_{ü}.wav")
    assert len(title) == len("2: ") + MAX_TITLE
    limits = {tile.images[0].get_clim() for tile, panel in zip(tiles, shown, strict=False) if not panel.is_raw}
    assert limits == {(float(rows[0].sample.min()), float(rows[0].sample.max()))}
    bars = [bar for bar in figure.axes if bar.get_ylabel() == "log power"]
    assert len(bars) == 2


def test_there_is_a_picture_and_sounds_beside_it(tmp_path):
    write_picture([reconstruction(title="鳥\udce9 $x.wav"), reconstruction(raw=False)][:1], tmp_path / "step-1.png")
    with Image.open(tmp_path / "step-1.png") as picture:
        assert picture.size == (5 * 340, 220 + 50)
        assert len(picture.convert("RGB").getcolors(1_000_000)) > 100
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["step-1-1-original.wav", "step-1-1-output.wav", "step-1-1-pasted.wav", "step-1.png"]
    for name in names[:-1]:
        wave, rate = soundfile.read(tmp_path / name)
        assert rate == 16_000
        assert wave.ndim == 1
        assert len(wave) == 63 * 160
    assert matplotlib.get_backend().lower() != "tkagg"  # a figure of its own, nothing global


@pytest.mark.parametrize("milliseconds", range(25, 61, 5))
def test_very_short_sounds_have_pictures_and_are_heard(milliseconds, tmp_path):
    short = to_spectrogram(sine(700, num=16 * milliseconds), 64, 32)
    write_picture([reconstruction(original=short)], tmp_path / "a.png")
    for what in ("original", "output", "pasted"):
        wave, _ = soundfile.read(tmp_path / f"a-1-{what}.wav")
        assert len(wave) >= 320
        assert np.isfinite(wave).all()
    assert np.abs(soundfile.read(tmp_path / "a-1-original.wav")[0]).max() > 0.05


def test_silence_and_constant_samples_are_shown(tmp_path):
    silent = to_spectrogram(torch.zeros(num_samples(64)), 64, 32)
    write_picture([reconstruction(original=silent, raw=False)], tmp_path / "a.png")
    wave, _ = soundfile.read(tmp_path / "a-1-original.wav")
    assert np.abs(wave).max() < 1e-3


def test_there_is_something_to_show(tmp_path):
    with pytest.raises(MaeError, match="nothing to show"):
        write_picture([], tmp_path / "a.png")


@pytest.mark.parametrize("hertz", [200, 440, 1000, 3000])
@pytest.mark.parametrize("mels", [64, 128])
def test_a_tone_comes_back_at_its_frequency_and_level(hertz, mels):
    wave = to_wave(fbank(sine(hertz), mels))
    inner = wave[2000:-2000]
    # a mel bin is as wide as this
    assert peak_hertz(inner) == pytest.approx(hertz, rel=0.04, abs=16)
    assert float(inner.std()) == pytest.approx(0.3 / math.sqrt(2), rel=0.15)


@pytest.mark.parametrize("kind", range(4))
def test_sounds_come_back_with_their_spectrogram(kind):
    wave = make_sound("train", kind, 16_000)
    spectrogram = fbank(wave - wave.mean(), 64)
    # Griffin-Lim centres its windows: its first frame lies half a window before ours
    again = fbank(torch.nn.functional.pad(to_wave(spectrogram), (200, 400)), 64)[: len(spectrogram)]
    heard = spectrogram > spectrogram.max() - 10  # 43 dB below the loudest
    assert float((again - spectrogram).abs()[heard].mean()) < 1.0
    assert float(spectrogram[heard].std()) > 1.5


def test_sounds_leave_the_global_generator_alone_and_are_the_same_every_time():
    spectrogram = fbank(sine(500), 32)
    torch.manual_seed(5)
    first, drawn = to_wave(spectrogram), torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    assert torch.equal(to_wave(spectrogram), first)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e9])
def test_a_models_output_may_be_anything(value):
    spectrogram = fbank(sine(500), 32)
    spectrogram[20:30] = value
    assert to_wave(spectrogram).isfinite().all()


def test_padding_is_not_heard_nothing_clips_and_a_loud_output_does_not_drown_the_rest():
    shown = reconstruction(original=to_spectrogram(sine(700, num=4000), 64, 32))  # 23 frames of sound
    waves = sounds(shown)
    assert {len(wave) for wave in waves.values()} == {22 * 160}
    softer, cut = (sounds(dataclasses.replace(shown, prediction=torch.full_like(shown.sample, value))) for value in (10, 20))
    assert all(torch.equal(softer[what], cut[what]) for what in waves)
    assert float(softer["output"].abs().max()) == pytest.approx(1)
    factors = softer["original"] / waves["original"]  # all by the same factor
    assert float(factors.max()) == pytest.approx(float(factors.min()), rel=1e-3)
    assert 0.1 < float(factors.max()) < 0.9
