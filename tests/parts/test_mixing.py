"""Mixup, CutMix and random erasing against timm's, given the same random numbers; what they make of any split of a batch."""

import math
import random

import numpy as np
import pytest
import timm.data.random_erasing as timm_erasing
import torch
import torch.nn.functional as F
from timm.data.mixup import Mixup, cutmix_bbox_and_lam
from timm.loss.cross_entropy import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy

from mae_core.parts.erasing import AREA, draw_box, erase
from mae_core.parts.mixing import Mixing, MixSettings, cut_box, draw_mixing, require_mixable
from mae_core.parts.soft_targets import binary_cross_entropy, cross_entropy, soft_targets
from mae_registry import ConfigError

CLASSES = 7


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def timm_mixed(x, labels, share, box, monkeypatch):
    """timm's result for the pair (x[0], x[1]), whose partners are each other's, with its draws replaced."""
    is_cut = box is not None
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=CLASSES)
    monkeypatch.setattr(mixup, "_params_per_batch", lambda: (share, is_cut))
    if is_cut:
        centers = iter(box)
        monkeypatch.setattr(np.random, "randint", lambda *_, **__: np.int64(next(centers)))
    return mixup(x.clone(), labels)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.71, 1.0])
def test_a_mixed_pair_is_timms(share, monkeypatch):
    x, labels = torch.randn(2, 3, 9, 11), torch.tensor([2, 5])
    expected, expected_targets = timm_mixed(x, labels, share, None, monkeypatch)
    shares = torch.full((2,), share, dtype=torch.float64)
    mixing = Mixing(shares, shares, torch.zeros(2, 4, dtype=torch.long), 1)
    torch.testing.assert_close(mixing.mix(x), expected, rtol=0, atol=1e-7)
    targets = mixing.mix_targets(soft_targets(labels, CLASSES, smoothing=0.1))
    torch.testing.assert_close(targets, expected_targets, rtol=0, atol=1e-7)


@pytest.mark.parametrize("center", [(4, 5), (0, 0), (8, 10), (1, 9)])
@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_a_cut_pair_is_timms(share, center, monkeypatch):
    x, labels = torch.randn(2, 3, 9, 11), torch.tensor([2, 5])
    expected, expected_targets = timm_mixed(x, labels, share, center, monkeypatch)
    box = cut_box((9, 11), share, center)
    area = (box[1] - box[0]) * (box[3] - box[2])
    own = torch.full((2,), 1 - area / 99, dtype=torch.float64)
    mixing = Mixing(torch.ones(2, dtype=torch.float64), own, torch.tensor([box, box]), 1)
    assert torch.equal(mixing.mix(x), expected)
    targets = mixing.mix_targets(soft_targets(labels, CLASSES, smoothing=0.1))
    torch.testing.assert_close(targets, expected_targets, rtol=0, atol=1e-7)
    monkeypatch.setattr(np.random, "randint", lambda *_, **__: np.int64(next(centers)))
    centers = iter(center)
    assert cutmix_bbox_and_lam((3, 9, 11), share)[0] == box


@pytest.mark.parametrize("mode", ["batch", "pair"])
def test_what_is_drawn_follows_the_settings(mode):
    settings = MixSettings(mixup=0.8, cutmix=1.0, prob=0.75, switch_prob=0.4, mode=mode)
    drawn = [draw_mixing(settings, 64, (3, 32, 32), generator=generator(seed)) for seed in range(400)]
    for mixing in drawn:
        pairs = mixing.of_target.unflatten(0, (-1, 2))
        assert torch.equal(pairs[:, 0], pairs[:, 1])
        assert mode == "pair" or bool((mixing.of_target == mixing.of_target[0]).all())
    shares = torch.cat([mixing.of_target[:: 64 if mode == "batch" else 2] for mixing in drawn])
    is_cut = torch.cat([mixing.boxes[:: 64 if mode == "batch" else 2].any(1) for mixing in drawn])
    is_mixed = ((shares < 1) | is_cut).float().mean()
    tolerance = 0.1 if mode == "batch" else 0.02
    assert float(is_mixed) == pytest.approx(0.75, abs=tolerance)
    assert float(is_cut.float().mean()) == pytest.approx(0.75 * 0.4, abs=tolerance)
    mixed = shares[(shares < 1) & ~is_cut]
    assert float(mixed.mean()) == pytest.approx(0.5, abs=tolerance)  # Beta(0.8, 0.8) has mean 1/2 and variance 1 / 10.4
    assert float(mixed.var()) == pytest.approx(1 / 10.4, abs=tolerance)


def test_a_split_between_pairs_mixes_alike():
    settings = MixSettings(mode="pair")
    for num_views in (1, 3):
        num_rows = 8 * num_views
        x, targets = torch.randn(num_rows, 2, 6, 5), torch.rand(num_rows, CLASSES)
        mixing = draw_mixing(settings, num_rows, (2, 6, 5), num_views=num_views, generator=generator())
        halves = [slice(first, first + 2 * num_views) for first in range(0, num_rows, 2 * num_views)]
        parts = [mixing[rows].mix(x[rows]) for rows in halves]
        assert torch.equal(torch.cat(parts), mixing.mix(x))
        assert torch.equal(torch.cat([mixing[rows].mix_targets(targets[rows]) for rows in halves]), mixing.mix_targets(targets))


def test_views_of_a_sample_are_mixed_with_those_of_another_one():
    x = torch.arange(8.0).reshape(8, 1, 1)  # two views of four samples
    mixing = Mixing(torch.zeros(8, dtype=torch.float64), torch.zeros(8, dtype=torch.float64), torch.zeros(8, 4).long(), 2)
    assert mixing.mix(x).flatten().tolist() == [2, 3, 0, 1, 6, 7, 4, 5]


def test_what_cannot_be_mixed():
    with pytest.raises(ConfigError, match="3 samples are no pairs"):
        draw_mixing(MixSettings(), 3, (3, 8, 8), generator=generator())
    with pytest.raises(ConfigError, match="both 0"):
        require_mixable(MixSettings(mixup=0.0, cutmix=0.0), (3, 8, 8))
    with pytest.raises(ConfigError, match=r"task\.mix\.cutmix needs samples of two axes or more"):
        require_mixable(MixSettings(), (16000,))
    require_mixable(MixSettings(cutmix=0.0), (16000,))


# ---- erasing


def test_boxes_are_timms_given_the_same_random_numbers(monkeypatch):
    ours, theirs = torch.ones(40, 3, 24, 18), torch.ones(40, 3, 24, 18)
    for seed in range(len(ours)):
        box = draw_box(24, 18, random.Random(seed))
        if box is not None:
            ours[seed, :, box[0], box[1]] = 0
        monkeypatch.setattr(timm_erasing, "random", Replayed(random.Random(seed)))
        theirs[seed] = timm_erasing.RandomErasing(probability=1.0, mode="const", device="cpu")(theirs[seed])
    assert torch.equal(ours, theirs)


class Replayed:
    """A generator whose first `random` says that there is something to erase, and takes no number for it."""

    def __init__(self, own):
        self.random, self.uniform, self.randint = lambda: 0.0, own.uniform, own.randint


def test_a_share_of_the_rows_is_erased_by_noise_of_its_own_seed():
    x, seeds = torch.full((2000, 1, 16, 12), 100.0), torch.randint(2**62, (2000,), generator=generator())
    erased = erase(x, seeds, probability=0.25)
    assert bool((x == 100).all())
    changed = erased != x
    assert float(changed.flatten(1).any(1).float().mean()) == pytest.approx(0.25, abs=0.04)
    noise = erased[changed]
    assert (abs(float(noise.mean())) < 0.03, abs(float(noise.std()) - 1) < 0.03) == (True, True)
    areas = changed.flatten(1).float().mean(1)
    areas = areas[areas > 0]
    assert AREA[0] * 0.5 < float(areas.min()) < float(areas.max()) < AREA[1] * 1.3
    parts = [erase(x[rows : rows + 1], seeds[rows : rows + 1], probability=0.25) for rows in range(50)]
    assert torch.equal(torch.cat(parts), erased[:50])


# ---- targets and losses


def test_the_losses_are_the_published_ones():
    scores, labels = torch.randn(5, CLASSES), torch.tensor([0, 3, 6, 3, 1])
    smooth = cross_entropy(scores, soft_targets(labels, CLASSES, smoothing=0.1)).mean()
    torch.testing.assert_close(smooth, LabelSmoothingCrossEntropy(0.1)(scores, labels))
    soft = torch.rand(5, CLASSES)
    torch.testing.assert_close(cross_entropy(scores, soft).mean(), SoftTargetCrossEntropy()(scores, soft))
    several = (torch.rand(5, CLASSES) < 0.4).float()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores, several)
    torch.testing.assert_close(binary_cross_entropy(scores, soft_targets(several, CLASSES)).mean(), expected)
    assert math.isclose(float(soft_targets(several, CLASSES, smoothing=0.2, several=True).max()), 0.9, rel_tol=1e-6)


def test_mixtures_of_samples_with_one_label_are_smoothed_as_these_are():
    first, second = torch.tensor([0, 3]), torch.tensor([2, 3])
    shares = 0.7 * F.one_hot(first, CLASSES) + 0.3 * F.one_hot(second, CLASSES)
    expected = 0.7 * soft_targets(first, CLASSES, smoothing=0.1) + 0.3 * soft_targets(second, CLASSES, smoothing=0.1)
    smoothed = soft_targets(shares, CLASSES, smoothing=0.1)
    torch.testing.assert_close(smoothed, expected)
    torch.testing.assert_close(smoothed.sum(dim=1), torch.ones(2))
