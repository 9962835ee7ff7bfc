"""Where decoders and targets stand in a model, for tests of these parts alone."""

from collections.abc import Mapping

import torch
from grids import OnePixelPatches
from torch import Tensor

from mae_core.interfaces import DecoderPlace, Grid, Latent, MakePositions, Positions, Seen, Target, TargetPlace, Tokenizer
from mae_core.parts.positions import SinCos

ENTRY = "only"


def decoder_place(
    grids: Grid | Mapping[str, Grid],
    *,
    entry: str = ENTRY,
    context_width: int,
    out_dim: int,
    positions: type[Positions] = SinCos,
    returns_all: bool = False,
    num_prefix_tokens: int = 1,
) -> DecoderPlace:
    """Of a model of these grids, by modality; of one grid, that of `ENTRY`."""
    grids = {ENTRY: grids} if isinstance(grids, Grid) else grids
    make: dict[str, MakePositions] = {name: lambda width, grid=grid: positions(grid, width) for name, grid in grids.items()}
    tokenizers = {name: OnePixelPatches(grid) for name, grid in grids.items()}
    return DecoderPlace(entry, context_width, out_dim, tokenizers, make, returns_all, num_prefix_tokens, 1)


def latent_of(x: Tensor, ids: Tensor, num_patches: int) -> Latent:
    """Of `ENTRY` alone: prefix tokens, as many as there are more tokens than ids, and those of ids."""
    return Latent(x, x.shape[1] - ids.shape[1], ids, {ENTRY: (0, num_patches)}, {ENTRY: ids.shape[1]})


def target_place(tokenizer: Tokenizer, *, latent_width: int = 8, num_layers: int = 1) -> TargetPlace:
    """Of a model of this tokenizer."""
    return TargetPlace(ENTRY, tokenizer, latent_width, num_layers, lambda width: SinCos(tokenizer.grid, width))


def truth_of(target: Target, tokenizer: Tokenizer, x: Tensor) -> Tensor:
    """What is to be predicted of normalised samples, (B, N, ...)."""
    return target.prepare(Seen(ENTRY, x, tokenizer.patchify(x), {}, None))


def loss_of(target: Target, pred: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """As the model has it: the sum of weight x error over the sum of weights."""
    weight = target.weight(counts)
    return (torch.where(weight != 0, weight * target.error(pred, truth), 0)).sum() / weight.sum()
