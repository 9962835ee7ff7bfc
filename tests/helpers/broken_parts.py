"""Components that each break one contract, for test_testing.py. Each derives from a sound one."""

import pickle
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from mae_core.interfaces import BadSample, Dataset, Mask, Masker, Modality, Preview, Query
from mae_core.interfaces.numbers import Positive
from mae_core.masking import RandomMasker
from mae_core.parts.patches import PatchTokenizer
from mae_core.parts.pixels import Pixels
from mae_core.parts.positions import Learned, SinCos
from mae_core.parts.vit_decoder import ViTDecoder
from mae_core.parts.vit_encoder import ViTEncoder


class Patches(PatchTokenizer):
    """Sound."""

    axes = ("t",)

    def __init__(self, width: int, *, length: Positive = 24, side: Positive = 4, channels: Positive = 2) -> None:
        moments = {"mean": [0.5] * channels, "std": [0.25] * channels}
        super().__init__(width, input_size=[length], patch_size=[side], channels=channels, **moments)


class WithoutAnnotation(Patches):
    def __init__(self, width: int, *, side=4) -> None:
        super().__init__(width, side=side)


class WithForbiddenDefault(Patches):
    def __init__(self, width: int, *, side: Positive = 0) -> None:
        super().__init__(width, side=side or 4)


class AcceptsEverything(Patches):
    def patchify(self, x):
        return super().patchify(x[..., : self.sample_shape[-1]])


class NoInverse(Patches):
    def unpatchify(self, patches):
        return super().unpatchify(patches).flip(2)


class TransposedPatches(Patches):
    def patchify(self, x):
        return super().patchify(x).transpose(1, 2)


class MixedSamples(Patches):
    def patchify(self, x):
        return super().patchify(x - x.mean(0))


class ContextualEmbedding(Patches):
    def embed(self, patches):
        return self.proj(patches - patches.mean(1, keepdim=True))


class UpsideDown(Patches):
    def denormalize(self, x):
        return -super().denormalize(x)


class InPlace(Patches):
    def normalize(self, x):
        return x.sub_(0.5)


class ListSampleShape(Patches):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.sample_shape = list(self.sample_shape)


class LooseTensor(Patches):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.shift = torch.ones(1)


class SinglePrecision(Patches):
    def embed(self, patches):
        tokens = super().embed(patches)
        return torch.zeros(tokens.shape).scatter(1, torch.arange(tokens.shape[1])[None, :, None].expand_as(tokens), tokens)


class UnsavedState(Patches):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.register_buffer("shift", torch.randn(1), persistent=False)

    def embed(self, patches):
        return super().embed(patches) + self.shift


class DataDependent(Patches):
    def embed(self, patches):
        return super().embed(patches) * (1 if float(patches.sum()) < 1e9 else 2)


class NeedsValues(Patches):
    """Cannot be built on the meta device."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.scale = float(self.proj.weight.detach().sum())


class NarrowPositions(SinCos):
    def forward(self, ids):
        return super().forward(ids)[..., :-1]


class RelativePositions(Learned):
    def forward(self, ids):
        return super().forward(ids) - super().forward(ids).mean(1, keepdim=True)


class FlatClassPosition(SinCos):
    def class_position(self):
        return torch.zeros(1, self.table.shape[1])


class UnweightedLoss(Pixels):
    def loss(self, pred, target, weight):
        return (pred - target).square().mean()


class DivisionByZero(Pixels):
    def loss(self, pred, target, weight):
        per_patch = (pred - target).square().mean(-1)
        return ((per_patch * weight).sum(1) / weight.sum(1)).mean()


class RowLoss(Pixels):
    def loss(self, pred, target, weight):
        return ((pred - target).square().mean(-1) * weight).sum(1)


class Secretive(Pixels):
    @property
    def raw_differs(self):
        return False


class SortedIds(Pixels):
    def forward(self, x, patches, ids):
        return super().forward(x, patches, ids.sort(1).values)


class TrainedTarget(Pixels):
    def __init__(self, tokenizer) -> None:
        super().__init__(tokenizer)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x, patches, ids):
        return self.scale * super().forward(x, patches, ids)


class GlobalGenerator(RandomMasker):
    def forward(self, grid, batch_size, *, generator):
        torch.rand(1)
        return super().forward(grid, batch_size, generator=generator)


class PythonGenerator(RandomMasker):
    def forward(self, grid, batch_size, *, generator):
        return super().forward(grid, batch_size, generator=torch.Generator().manual_seed(random.getrandbits(30)))


class OwnSeed(RandomMasker):
    def forward(self, grid, batch_size, *, generator):
        return super().forward(grid, batch_size, generator=torch.Generator().manual_seed(0))


class Counting(RandomMasker):
    """Remembers how often it was called."""

    num_calls = 0

    def forward(self, grid, batch_size, *, generator):
        type(self).num_calls += 1
        return super().forward(grid, batch_size, generator=generator.manual_seed(self.num_calls))


class UnequalRows(Masker):
    def forward(self, grid, batch_size, *, generator):
        hidden = torch.rand(batch_size, grid.num_patches, generator=generator) < 0.5
        hidden[:, 0], hidden[:, 1], hidden[0, :3] = False, True, True
        ids = Mask.from_hidden(hidden[:1]).ids_keep.expand(batch_size, -1)
        return Mask(ids, hidden, ()).asking(ids)


class UnequalSecond(RandomMasker):
    """Several masks, of which the second is wrong."""

    def forward(self, grid, batch_size, *, generator):
        mask = super().forward(grid, batch_size, generator=generator)
        return mask, replace(mask, hidden=~mask.hidden)


class NothingCounts(RandomMasker):
    def forward(self, grid, batch_size, *, generator):
        mask = super().forward(grid, batch_size, generator=generator)
        return mask.asking(mask.ids_keep)


class CountsTooFew(RandomMasker):
    def forward(self, grid, batch_size, *, generator):
        mask = super().forward(grid, batch_size, generator=generator)
        return mask.asking(Query(mask.ids_predict, mask.queries[0].counts[:, :1]))


class OneMask(RandomMasker):
    """Guided, it draws a single mask whatever it is asked for."""

    needs = "patches"

    def forward(self, grid, batch_size, *, generator):
        return super().forward(grid, 1, generator=generator)


class FixedRatio(RandomMasker):
    """Reads its ratio too early for a schedule."""

    def __init__(self, *, ratio: float) -> None:
        super().__init__(ratio=ratio)
        self.kept = 1 - ratio

    def forward(self, grid, batch_size, *, generator):
        return Mask.from_noise(torch.rand(batch_size, grid.num_patches, generator=generator), int(grid.num_patches * self.kept))


class KeepsTwice(RandomMasker):
    def forward(self, grid, batch_size, *, generator):
        mask = super().forward(grid, batch_size, generator=generator)
        return replace(mask, ids_keep=mask.ids_keep[:, :1].expand(-1, 2))


class KeepsNothing(Masker):
    def forward(self, grid, batch_size, *, generator):
        return Mask.from_noise(torch.rand(batch_size, grid.num_patches, generator=generator), 0)


class FloatIds(RandomMasker):
    def forward(self, grid, batch_size, *, generator):
        mask = super().forward(grid, batch_size, generator=generator)
        return replace(mask, ids_keep=mask.ids_keep.float())


class WrongAxes(RandomMasker):
    def axes(self, grid):
        return frozenset(grid.axes[:1])


class BreaksLater(RandomMasker):
    def at(self, progress):
        return KeepsNothing() if progress == 1 else self


class Indexing(Masker):
    """A ValueError where the grid lacks an axis."""

    def forward(self, grid, batch_size, *, generator):
        place = grid.coordinates()[:, grid.axes.index("h")]
        first = torch.rand(batch_size, 1, generator=generator) < 0.5
        return Mask.from_hidden(torch.where(first, place < grid["h"] // 2, place >= grid["h"] // 2))


class NoPrefix(ViTEncoder):
    def forward(self, tokens, class_position=None):
        return super().forward(tokens, class_position)[:, 1:]


class BatchCentred(ViTEncoder):
    def forward(self, tokens, class_position=None):
        latent = super().forward(tokens, class_position)
        return latent - latent.mean(0)


class Recurrent(ViTDecoder):
    """Depends on the order of its tokens."""

    def forward(self, latent, ids_keep, ids_predict, **options):
        pred = super().forward(latent, ids_keep, ids_predict, **options)
        return pred.cumsum(1)


class OtherWithAll(ViTDecoder):
    def forward(self, latent, ids_keep, ids_predict, *, num_prefix_tokens, predict_all=False):
        pred = super().forward(latent, ids_keep, ids_predict, num_prefix_tokens=num_prefix_tokens, predict_all=predict_all)
        return pred.flip(1) if predict_all else pred


class WithDropout(ViTDecoder):
    def forward(self, latent, *rest, **options):
        return super().forward(nn.functional.dropout(latent), *rest, **options)


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


def write_nothing(reconstructions, path):
    pass


DEFAULTS = {
    "tokenizer": {"name": "sound"},
    "positions": {"name": "sincos"},
    "masker": {"name": "random", "ratio": 0.5},
    "decoder": {"name": "vit", "width": 12, "depth": 1, "heads": 2},
    "target": {"name": "pixels", "normalize": "none"},
}
HERE = "broken_parts"
FUNCTIONS = {"read": f"{HERE}:read", "picture": f"{HERE}:write_picture"}

SOUND = Modality("sound", DEFAULTS, **FUNCTIONS, file_suffixes=(".txt",))
MISNAMED = replace(SOUND, name="another")
WITHOUT_MASKER = replace(SOUND, name="without_masker", defaults={k: v for k, v in DEFAULTS.items() if k != "masker"})
CARELESS = replace(SOUND, name="careless", read=f"{HERE}:read_carelessly")
PICTURELESS = replace(SOUND, name="pictureless", picture=f"{HERE}:write_nothing")
PICTURE_NOWHERE = replace(SOUND, name="picture_nowhere", picture=f"{HERE}:nowhere")
LOUD = replace(SOUND, name="loud", file_suffixes=("TXT",))
UNUSED_WEIGHT = replace(SOUND, name="unused_weight", defaults={**DEFAULTS, "tokenizer": {"name": "unused_weight"}})


class UnusedWeight(Patches):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.extra = nn.Parameter(torch.ones(1))
