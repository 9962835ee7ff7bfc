"""Modules that each break one contract, for tests/testing. Each derives from a sound one."""

from dataclasses import replace

import torch
from torch import nn

from mae_core.interfaces import NO_EXTRAS
from mae_core.interfaces.numbers import Positive
from mae_core.parts.patches import PatchTokenizer
from mae_core.parts.pixels import Pixels
from mae_core.parts.positions import Learned, SinCos
from mae_core.parts.vit_decoder import ViTDecoder
from mae_core.parts.vit_encoder import ViTEncoder


class Patches(PatchTokenizer):
    """Sound."""

    axes = ("t",)

    def __init__(self, width: int | None, *, length: Positive = 24, side: Positive = 4, channels: Positive = 2) -> None:
        moments = {"mean": [0.5] * channels, "std": [0.25] * channels}
        super().__init__(width, input_size=[length], patch_size=[side], channels=channels, **moments)


class WithoutAnnotation(Patches):
    def __init__(self, width: int | None, *, side=4) -> None:
        super().__init__(width, side=side)


class WithForbiddenDefault(Patches):
    def __init__(self, width: int | None, *, side: Positive = 0) -> None:
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
    def embed(self, patches, ids, extras=NO_EXTRAS):
        return super().embed(patches - patches.mean(1, keepdim=True), ids, extras)


class EmbedsByPlace(Patches):
    """Takes the patches it is given to be the first ones, instead of reading `ids`."""

    def __init__(self, width: int | None) -> None:
        super().__init__(width)
        self.kinds = None if width is None else nn.Embedding(self.grid.num_patches, width)

    def embed(self, patches, ids, extras=NO_EXTRAS):
        return super().embed(patches, ids, extras) + self.kinds.weight[: patches.shape[1]]


class AlwaysProjects(Patches):
    def __init__(self, width: int | None) -> None:
        super().__init__(width or 8)


class UpsideDown(Patches):
    def denormalize(self, x):
        return -super().denormalize(x)


class InPlace(Patches):
    def normalize(self, x):
        return x.sub_(0.5)


class ListSampleShape(Patches):
    def __init__(self, width: int | None) -> None:
        super().__init__(width)
        self.sample_shape = list(self.sample_shape)


class LooseTensor(Patches):
    def __init__(self, width: int | None) -> None:
        super().__init__(width)
        self.shift = torch.ones(1)


class SinglePrecision(Patches):
    def embed(self, patches, ids, extras=NO_EXTRAS):
        tokens = super().embed(patches, ids, extras)
        return torch.zeros(tokens.shape).scatter(1, torch.arange(tokens.shape[1])[None, :, None].expand_as(tokens), tokens)


class UnsavedState(Patches):
    def __init__(self, width: int | None) -> None:
        super().__init__(width)
        self.register_buffer("shift", torch.randn(1), persistent=False)

    def embed(self, patches, ids, extras=NO_EXTRAS):
        return super().embed(patches, ids, extras) + self.shift


class DataDependent(Patches):
    def embed(self, patches, ids, extras=NO_EXTRAS):
        return super().embed(patches, ids, extras) * (1 if float(patches.sum()) < 1e9 else 2)


class NeedsValues(Patches):
    """Cannot be built on the meta device."""

    def __init__(self, width: int | None) -> None:
        super().__init__(width)
        self.scale = 1.0 if width is None else float(self.proj.weight.detach().sum())


class NarrowPositions(SinCos):
    def forward(self, ids, extras=NO_EXTRAS):
        return super().forward(ids)[..., :-1]


class RelativePositions(Learned):
    def forward(self, ids, extras=NO_EXTRAS):
        return super().forward(ids) - super().forward(ids).mean(1, keepdim=True)


class FlatClassPosition(SinCos):
    def class_position(self):
        return torch.zeros(1, self.table.shape[1])


class CountsEverything(Pixels):
    def weight(self, counts):
        return torch.ones_like(counts, dtype=torch.float32)


class DivisionByZero(Pixels):
    def weight(self, counts):
        return counts / counts.sum(1, keepdim=True)


class RowError(Pixels):
    def error(self, pred, truth):
        return super().error(pred, truth).mean(1)


class Indifferent(Pixels):
    def error(self, pred, truth):
        return super().error(pred.detach(), truth) + 0 * pred.sum(-1)


class Secretive(Pixels):
    @property
    def raw_differs(self):
        return False


class BatchTruth(Pixels):
    def prepare(self, seen):
        return super().prepare(seen) - seen.patches.mean(0)


class FlatTruth(Pixels):
    def prepare(self, seen):
        return super().prepare(seen).flatten(0, 1)


class ChangesPatches(Pixels):
    def prepare(self, seen):
        return super().prepare(replace(seen, patches=seen.patches.mul_(2)))


class NoPrefix(ViTEncoder):
    def forward(self, visible, *, layers=()):
        latent = super().forward(visible, layers=layers)
        return replace(latent, x=latent.tokens)


class BatchCentred(ViTEncoder):
    def forward(self, visible, *, layers=()):
        latent = super().forward(visible, layers=layers)
        return replace(latent, x=latent.x - latent.x.mean(0))


class LooksAtHidden(ViTEncoder):
    def forward(self, visible, *, layers=()):
        latent = super().forward(visible, layers=layers)
        every = visible._batch.patches["only"].mean(dim=(1, 2)).reshape(-1, 1, 1)
        return replace(latent, x=latent.x + every)


class ForgetsLayers(ViTEncoder):
    def forward(self, visible, *, layers=()):
        return super().forward(visible, layers=layers[:1])


class SkipsBlocks(ViTEncoder):
    def layer_of(self, name):
        layer = super().layer_of(name)
        return layer and 2 * layer


class Recurrent(ViTDecoder):
    """Depends on the order of the ids that it is asked for."""

    def forward(self, latent, ids, *, extras, everything=False):
        pred = super().forward(latent, ids, extras=extras, everything=everything)
        return pred if everything else pred.cumsum(1)


class OrderedContext(ViTDecoder):
    """Depends on the order of the tokens of its context."""

    def forward(self, latent, ids, *, extras, everything=False):
        ramp = torch.linspace(0, 1, latent.x.shape[1])[:, None]
        return super().forward(replace(latent, x=latent.x * ramp), ids, extras=extras, everything=everything)


class OtherWithAll(ViTDecoder):
    def forward(self, latent, ids, *, extras, everything=False):
        pred = super().forward(latent, ids, extras=extras, everything=everything)
        return pred.flip(1) if everything else pred


class WithDropout(ViTDecoder):
    def forward(self, latent, ids, *, extras, everything=False):
        return super().forward(replace(latent, x=nn.functional.dropout(latent.x)), ids, extras=extras, everything=everything)
