"""Datasets and modalities that each break one contract, for tests/testing. Each derives from a sound one."""

import pickle
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from broken_parts import Patches
from torch import nn

from mae_core.interfaces import BadSample, Dataset, Labels, Modality, Preview, Sample
from mae_core.interfaces.numbers import Positive


class Ramps(Dataset):
    """Sound: lines of random slope."""

    def __init__(self, sample_shape: tuple[int, ...], *, count: Positive = 4) -> None:
        self.shape = sample_shape
        self.count = count

    def __len__(self) -> int:
        return self.count

    def load(self, index, *, random):
        return random.random() * index * torch.linspace(0, 1, self.shape[-1]).expand(self.shape)

    def describe(self, index) -> str:
        return f"ramp {index}"

    def previews(self, count) -> Sequence[Preview]:
        ramp = torch.linspace(0, 1, self.shape[-1]).expand(self.shape)
        return [Preview(self.describe(i), ramp) for i in range(min(count, self.count))]


class SeveralViews(Ramps):
    """Sound."""

    num_views = 3

    def load(self, index, *, random):
        return torch.stack([super(SeveralViews, self).load(index, random=random) for _ in range(self.num_views)])


class Labelled(Ramps):
    """Sound."""

    def __init__(self, sample_shape: tuple[int, ...], *, count: Positive = 4) -> None:
        super().__init__(sample_shape, count=count)
        self.labels = self.label(count)

    def label(self, count: int) -> Labels:
        return Labels(("a", "b"), torch.arange(count) % 2)

    def load(self, index, *, random):
        return self.labelled(super().load(index, random=random), index)


class UnsortedClasses(Labelled):
    def label(self, count: int) -> Labels:
        return Labels(("b", "a"), torch.arange(count) % 2)


class TooFewTargets(Labelled):
    def label(self, count: int) -> Labels:
        return Labels(("a", "b"), torch.arange(count - 1) % 2)


class UnknownClass(Labelled):
    def label(self, count: int) -> Labels:
        return Labels(("a", "b"), torch.arange(count))


class KeepsLabels(Labelled):
    def load(self, index, *, random):
        return Ramps.load(self, index, random=random)


class OneTestView(Ramps):
    num_test_views = 2

    def read_views(self, index):
        return Sample(self.read(index).x[None])


class ReadsSeveralViews(SeveralViews):
    def read(self, index):
        return self.load(index, random=random.Random(0))


class GlobalNoise(Ramps):
    def load(self, index, *, random):
        return super().load(index, random=random) + torch.randn(self.shape)


class Remembering(Ramps):
    last = 0

    def load(self, index, *, random):
        self.last += 1
        return super().load(index, random=random) + self.last


class WrongShape(Ramps):
    def load(self, index, *, random):
        return super().load(index, random=random)[..., :-1]


class Unpicklable(Ramps):
    def __getstate__(self):
        raise pickle.PicklingError("an open file")


class EndlessPreviews(Ramps):
    def previews(self, count):
        return super().previews(count + 1)


class NoName(Ramps):
    def describe(self, index):
        return ""


def read(path, tokenizer):
    try:
        return torch.full(tokenizer.sample_shape, float(Path(path).read_text()))
    except ValueError as error:
        raise BadSample(f"{path}: holds no number") from error


def read_carelessly(path, tokenizer):
    return torch.full(tokenizer.sample_shape, float(Path(path).read_text()))


def write_picture(reconstructions, path):
    Path(path).write_bytes(b"\x89PNG" + repr(reconstructions).encode())
    return [path]


def write_nothing(reconstructions, path):
    pass


def write_in_silence(reconstructions, path):
    return write_picture(reconstructions, path) + write_picture(reconstructions, path.with_suffix(".gif"))[:0]


DEFAULTS = {
    "tokenizer": {"name": "sound"},
    "positions": {"name": "sincos"},
    "masker": {"name": "random", "ratio": 0.5},
    "decoder": {"name": "vit", "width": 12, "depth": 1, "heads": 2},
    "target": {"name": "pixels", "normalize": "none"},
}
HERE = "broken_data"
FUNCTIONS = {"read": f"{HERE}:read", "picture": f"{HERE}:write_picture"}

SOUND = Modality("sound", DEFAULTS, **FUNCTIONS, file_suffixes=(".txt",))
MISNAMED = replace(SOUND, name="another")
WITHOUT_MASKER = replace(SOUND, name="without_masker", defaults={k: v for k, v in DEFAULTS.items() if k != "masker"})
CARELESS = replace(SOUND, name="careless", read=f"{HERE}:read_carelessly")
PICTURELESS = replace(SOUND, name="pictureless", picture=f"{HERE}:write_nothing")
SILENT = replace(SOUND, name="silent", picture=f"{HERE}:write_in_silence")
PICTURE_NOWHERE = replace(SOUND, name="picture_nowhere", picture=f"{HERE}:nowhere")
LOUD = replace(SOUND, name="loud", file_suffixes=("TXT",))
UNUSED_WEIGHT = replace(SOUND, name="unused_weight", defaults={**DEFAULTS, "tokenizer": {"name": "unused_weight"}})


class UnusedWeight(Patches):
    def __init__(self, width: int | None) -> None:
        super().__init__(width)
        self.extra = nn.Parameter(torch.ones(1))
