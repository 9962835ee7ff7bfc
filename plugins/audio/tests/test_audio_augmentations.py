"""The augmentations of Audio-MAE's fine-tuning: waveforms and labels are mixed, bands of the spectrogram are masked."""

from collections import Counter
from random import Random

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.transforms import FrequencyMasking, TimeMasking

from mae_audio.augmentations import mask_bands, mix_waves
from mae_audio.datasets import AudioFolder
from mae_audio.reading import read_wave, to_spectrogram
from mae_core.interfaces import LABEL
from mae_registry import ConfigError

SHAPE = (1, 48, 32)


@pytest.fixture
def root(tmp_path):
    """Three recordings of different lengths, of two classes."""
    for seed, name in enumerate(("a/1", "a/2", "b/3")):
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        noise = 0.1 * np.random.default_rng(seed).standard_normal(8000 + 3000 * seed)
        soundfile.write(path, noise + 0.05, 16_000)
    return tmp_path


def make_folder(root, **options):
    return AudioFolder(SHAPE, root=str(root), labels="folders", roll_mag_aug=False, **options)


def test_mixed_waves_are_the_published_sum_without_means():
    first, second = torch.rand(100) + 1, torch.rand(70) - 3
    expected = 0.3 * (first - first.mean())
    expected[:70] += 0.7 * (second - second.mean())
    assert torch.allclose(mix_waves(first, second, 0.3), expected)
    assert torch.allclose(mix_waves(second, first, 0.6), 0.6 * (second - second.mean()) + 0.4 * (first - first.mean())[:70])


def test_labels_are_mixed_as_the_waves_are(root):
    folder = make_folder(root, wave_mixup=0.5)
    waves = [read_wave(folder.describe(index), max_samples=8000) for index in range(3)]
    shares, plain = [], 0
    for seed in range(300):
        sample = folder.load(2, random=Random(seed))
        label = sample.extras[LABEL]
        assert (label.shape, label.dtype, float(label.sum())) == ((2,), torch.float32, pytest.approx(1))
        if label[0] > 0:
            shares.append(float(label[1]))
        else:
            plain += 1
    # of the half that is mixed, a third is mixed with itself
    assert plain / 300 == pytest.approx(0.5 + 0.5 / 3, abs=0.11)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)
    assert np.std(shares) == pytest.approx((1 / 84) ** 0.5, rel=0.25)  # Beta(10, 10)
    always = make_folder(root, wave_mixup=1.0)
    assert all(torch.equal(always.load(1, random=Random(3)).x, always.load(1, random=Random(3)).x) for _ in range(2))
    # recordings that are as short as the sample are read from their start
    (root / "c").mkdir()
    for number, wave in enumerate(waves):
        soundfile.write(root / "c" / f"{number}.wav", wave[:7920].numpy(), 16_000, subtype="FLOAT")
    short = AudioFolder((1, 48, 32), root=str(root / "c"), labels=str(write_table(root)), wave_mixup=1.0, roll_mag_aug=False)
    mixed = short.load(0, random=Random(8))
    share, other = max((float(share), number) for number, share in enumerate(mixed.extras[LABEL]) if number != 0)
    first, second = (read_wave(short.describe(index)) for index in (0, other))
    assert torch.allclose(mixed.x, to_spectrogram(mix_waves(first, second, 1 - share), 48, 32), atol=1e-3)


def write_table(root):
    path = root / "c" / "list.csv"
    path.write_text("path,label\n0.wav,x\n1.wav,y\n2.wav,z\n")
    return path


def test_several_labels_are_mixed_too(root):
    (root / "list.csv").write_text("path,label\na/1.wav,x;y\nb/3.wav,z\n")
    folder = AudioFolder(SHAPE, labels=str(root / "list.csv"), wave_mixup=1.0)
    for seed in range(10):
        label = folder.load(0, random=Random(seed)).extras[LABEL]
        assert float(label[0]) == float(label[1]) == pytest.approx(1 - float(label[2]))
    assert folder.read(0).extras[LABEL].tolist() == [1, 1, 0]


def test_without_mixing_labels_are_numbers(root):
    folder = make_folder(root)
    assert folder.load(2, random=Random(0)).extras[LABEL].tolist() == 1
    assert make_folder(root, wave_mixup=0.5).read(2).extras[LABEL].tolist() == 1


def bands(masked):
    """Start and width of the masked mel bins, and of the masked frames."""
    found = []
    for axis in (1, 0):
        lines = (masked == 0).all(dim=1 - axis).nonzero()[:, 0]
        found.append((int(lines[0]), len(lines)) if len(lines) else (0, 0))
        assert len(lines) == 0 or int(lines[-1] - lines[0]) + 1 == len(lines)
    return found


def test_masks_are_distributed_as_torchaudios():
    spectrogram = torch.rand(1, 40, 20) + 1
    ours, theirs = Counter(), Counter()
    torch.manual_seed(0)
    torchaudios = TimeMasking(12), FrequencyMasking(5)
    for seed in range(3000):
        first = mask_bands(spectrogram, num_frames=12, num_mels=5, random=Random(seed))[0]
        # torchaudio takes (..., frequency, time)
        second = torchaudios[0](torchaudios[1](spectrogram.transpose(1, 2))).transpose(1, 2)[0]
        for counter, masked in ((ours, first), (theirs, second)):
            kept = masked != 0
            assert torch.equal(masked[kept], spectrogram[0][kept])
            (start_mel, num_mels), (start_frame, num_frames) = bands(masked)
            counter.update([("mels", num_mels), ("frames", num_frames)])
            counter.update([("first mel", start_mel // 4), ("first frame", start_frame // 8)])
    for key in ours | theirs:
        difference = abs(ours[key] - theirs[key])
        assert difference <= 5 * (ours[key] + theirs[key]) ** 0.5, (key, ours[key], theirs[key])
    assert max(number for what, number in ours if what == "frames") == 11
    assert max(number for what, number in ours if what == "mels") == 4


def test_masks_are_zeros_before_normalisation_and_only_in_training(root):
    folder = make_folder(root, freq_mask=16, time_mask=20)
    plain = make_folder(root)
    assert torch.equal(folder.read(0).x, plain.read(0).x)
    masked = [float((folder.load(0, random=Random(seed)).x == 0).float().mean()) for seed in range(30)]
    assert np.mean(masked) > 0.2
    assert torch.equal(folder.load(0, random=Random(4)).x, folder.load(0, random=Random(4)).x)


def test_mistakes(root):
    for options in ({"freq_mask": 33}, {"time_mask": 49}):
        with pytest.raises(ConfigError, match="32 mel bins and 48 frames"):
            make_folder(root, **options)
    with pytest.raises(ConfigError, match=r"data\.audio\.wave_mixup .*needs data\.audio\.labels"):
        AudioFolder(SHAPE, root=str(root), wave_mixup=0.5)
