"""Decoders, and the one description of its place that each is built from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mae_core.interfaces.encoder import Latent
from mae_core.interfaces.grid import Grid
from mae_core.interfaces.sample import Extras
from mae_core.interfaces.tokenizer import MakePositions, Positions, Tokenizer


@dataclass(frozen=True)
class DecoderPlace:
    """Where a decoder stands in a model."""

    entry: str
    """The modality whose patches it predicts, by its name in the recipe."""
    context_width: int
    """D of the latents."""
    out_dim: int
    """T, values predicted a patch."""
    tokenizers: Mapping[str, Tokenizer]
    """The tokenizers of all modalities of the model, in the order of their joint ids."""
    make_positions: Mapping[str, MakePositions]
    """Decoder positions of all modalities, at the width that a decoder works in."""
    returns_all: bool
    """Whether the latent holds every patch, so that predictions are read from it and no mask token is needed."""
    num_prefix_tokens: int
    num_layers: int
    """Layers of the encoder; see `Encoder.num_layers`."""

    @property
    def grids(self) -> dict[str, Grid]:
        """The grids of all modalities of the model."""
        return {entry: tokenizer.grid for entry, tokenizer in self.tokenizers.items()}

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the decoder's own modality."""
        return self.tokenizers[self.entry]

    @property
    def grid(self) -> Grid:
        """The grid of the decoder's own modality."""
        return self.tokenizer.grid

    def positions(self, width: int) -> Positions:
        """The positions of the decoder's own modality, at the decoder's width."""
        return self.make_positions[self.entry](width)


class Decoder(nn.Module, ABC):
    """A set of context tokens and queried positions -> predictions. Built as `decoder(place, **recipe)`."""

    layers: Sequence[int] = ()
    """The encoder's layers that it reads from `latent.layers`."""

    @abstractmethod
    def forward(self, latent: Latent, ids: Tensor, *, extras: Mapping[str, Extras], everything: bool = False) -> Tensor:
        """The latent of all modalities, and ids (rows, M) of own patches -> (rows, M, T).

        A decoder that looks at its own modality alone begins with `latent.of(entry)`. `extras` are those of each modality's
        samples, one for each row. With `everything`: (rows, N, T) in raster order; those of `ids` are the same as without it,
        and NaN stands where the decoder has no prediction.
        """


def in_raster_order(num_patches: int, *predicted: tuple[Tensor, Tensor]) -> Tensor:
    """Pairs of ids (rows, M) and predictions (rows, M, T) -> (rows, N, T), NaN elsewhere; later pairs replace earlier ones."""
    _, first = predicted[0]
    raster = first.new_full((len(first), num_patches, first.shape[-1]), torch.nan)
    for ids, pred in predicted:
        raster = raster.scatter(1, ids.unsqueeze(-1).expand_as(pred), pred)
    return raster
