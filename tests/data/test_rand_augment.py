"""RandAugment is timm's, but from given random numbers, and alike for all frames."""

import pickle
import random
from collections import Counter
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import AugmentOp, rand_augment_transform

from mae_core.data.rand_augment import RandAugment
from mae_registry import ConfigError

SPEC = "rand-m9-mstd0.5-inc1"
FILL = (124, 116, 104)


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("spec", [SPEC, "rand-m7-n4-mstd0.5-inc1", "rand-m5-p0.9"])
def test_it_does_what_timm_does_with_the_published_parameters(spec: str) -> None:
    image = noise(3, 64, 48)
    # translations of at most int(.45 * the shorter side), as published; timm's relative ones are of the side itself
    parameters = {"translate_const": 21, "img_mean": FILL, "interpolation": Image.Resampling.BICUBIC}
    timm = rand_augment_transform(spec, parameters)
    augment = RandAugment(spec, size=(64, 48), fill=FILL)
    for seed in range(60):
        found = augment(image, random=Random(seed))
        random.seed(first := Random(seed).getrandbits(32))
        np.random.seed(first)
        expected = np.array(timm(Image.fromarray(image.permute(1, 2, 0).numpy())))
        assert torch.equal(found, torch.from_numpy(expected).permute(2, 0, 1))


def test_two_of_fifteen_operations_with_replacement_each_with_probability_one_half(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[str]] = []
    applied: Counter[bool] = Counter()
    call = AugmentOp.__call__

    def spy(self: AugmentOp, image: Image.Image) -> Image.Image:
        drawn[-1].append(self.name)
        changed = call(self, image)
        applied[changed is not image] += 1
        return changed

    monkeypatch.setattr(AugmentOp, "__call__", spy)
    augment = RandAugment(SPEC, size=(8, 8), fill=FILL)
    for seed in range(1000):
        drawn.append([])
        augment(noise(3, 8, 8), random=Random(seed))
    assert {len(names) for names in drawn} == {2}
    assert len({name for names in drawn for name in names}) == 15
    assert 0.04 < sum(first == second for first, second in drawn) / 1000 < 0.095  # 1/15, four standard deviations
    assert applied[True] / applied.total() == pytest.approx(0.5, abs=0.05)


def test_what_is_moved_away_from_is_filled() -> None:
    white = torch.full((3, 32, 32), 255, dtype=torch.uint8)
    augment = RandAugment("rand-m9-inc1-p1-n1", size=(32, 32), fill=FILL)
    colours = Counter(
        tuple(colour)
        for seed in range(60)
        for colour in augment(white, random=Random(seed)).flatten(1).T.unique(dim=0).tolist()
    )
    assert colours[FILL] > 5


def test_the_strongest_posterizing_keeps_nothing() -> None:
    white = torch.full((3, 8, 8), 255, dtype=torch.uint8)
    augment = RandAugment("rand-m10-inc1-p1-n1", size=(8, 8), fill=FILL)
    black = sum(int(augment(white, random=Random(seed)).max()) == 0 for seed in range(300))
    assert 18 < black < 85  # it, and inverting: 2 of 15, four standard deviations


def test_all_frames_are_changed_alike() -> None:
    frames = noise(3, 20, 20).expand(4, 3, 20, 20)
    augment = RandAugment(SPEC, size=(20, 20), fill=FILL)
    for seed in range(20):
        changed = augment(frames, random=Random(seed))
        assert changed.shape == frames.shape
        assert torch.equal(changed, augment(frames[0], random=Random(seed)).expand(4, 3, 20, 20))


def test_it_depends_on_its_generator_alone_and_leaves_the_global_ones_alone() -> None:
    image = noise(3, 16, 16)
    augment = pickle.loads(pickle.dumps(RandAugment(SPEC, size=(16, 16), fill=FILL)))
    first = [augment(image, random=Random(seed)) for seed in range(10)]
    random.seed(5)
    np.random.seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist()  # pyright: ignore[reportArgumentType, reportCallIssue]
    again = [augment(image, random=Random(seed)) for seed in range(10)]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert all(map(torch.equal, first, again))
    assert len({tuple(image.flatten().tolist()) for image in first}) > 4


@pytest.mark.parametrize("spec", ["", "rand-x9", "augmix-m3", "rand-m9-mstd0.5-inc2", "rand-m9,n2", "rand-m"])
def test_other_names_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"auto_augment=.*rand-m9-mstd0\.5-inc1"):
        RandAugment(spec, size=(8, 8), fill=FILL)
