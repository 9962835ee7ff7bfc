"""Encoders, what they are shown and what they return. `rows` is samples x contexts of each; K patches are kept of N."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from mae_registry import MaeError


@dataclass  # not frozen: Lightning Fabric copies a model's outputs field by field
class Latent:
    """What an encoder made of the visible patches of all modalities together."""

    tokens: Tensor
    """(rows, K, D), without prefix tokens."""
    ids: Tensor
    """(rows, K): which patches these are, numbered over the modalities in `spans`, one after the other."""
    prefix: Tensor
    """(rows, P, D): the class token and its like; P is 0 where there are none."""
    spans: Mapping[str, tuple[int, int]]
    """Of each modality of the model: the number of its first patch, and how many it has."""
    counts: Mapping[str, int] | None
    """Tokens of each modality, which lie one modality after the other; None where that differs from row to row."""
    layers: dict[int, Tensor] = field(default_factory=dict)
    """(rows, P + K, D), prefix first: outputs of the layers that were asked for, numbered by the encoder."""

    def of(self, entry: str) -> "Latent":
        """One modality's tokens, with ids of its own. Raises MaeError where rows hold different numbers of them."""
        if self.counts is None:
            raise MaeError(
                f"the masks of {entry!r} hide a different number of patches in each sample, which needs an encoder over all "
                "tokens (model.encoder.mask_tokens=true), a decoder that attends to all modalities, or exact counts"
            )
        if len(self.counts) == 1 and entry in self.counts:
            first, last = 0, self.counts[entry]
        else:
            names = list(self.counts)
            first = sum(self.counts[name] for name in names[: names.index(entry)])
            last = first + self.counts[entry]
        offset, number = self.spans[entry]
        num_prefix = self.prefix.shape[1]
        own = {
            layer: torch.cat([x[:, :num_prefix], x[:, num_prefix + first : num_prefix + last]], dim=1)
            for layer, x in self.layers.items()
        }
        return replace(
            self,
            tokens=self.tokens[:, first:last],
            ids=self.ids[:, first:last] - offset,
            spans={entry: (0, number)},
            counts={entry: last - first},
            layers=own,
        )

    def pooled(self, kind: Literal["mean", "cls"] = "mean") -> Tensor:
        """(rows, D): the mean of the patches' tokens, or the class token. Raises MaeError where there is none."""
        if kind == "mean":
            return self.tokens.mean(dim=1)
        if kind != "cls":
            raise MaeError(f"tokens are pooled by 'mean' or 'cls', not by {kind!r}")
        if self.prefix.shape[1] == 0:
            raise MaeError("this encoder has no class token; pool its tokens with 'mean'")
        return self.prefix[:, 0]


class Visible(Protocol):
    """What an encoder may look at. It asks for what it needs, and nothing else is computed."""

    @property
    def ids(self) -> Tensor:
        """(rows, K): the visible patches, numbered over all modalities. Raises MaeError where rows keep unequal numbers."""
        ...

    @property
    def every_id(self) -> Tensor:
        """(rows, N of all modalities): all patches in raster order, visible or not."""
        ...

    @property
    def hidden(self) -> Tensor:
        """(rows, N of all modalities) bool."""
        ...

    def tokens(self) -> Tensor:
        """(rows, K, D): the visible patches embedded, with their positions, in the order of `ids`."""
        ...

    def all_tokens(self, mask_token: Tensor) -> Tensor:
        """(rows, N, D): every patch, the hidden ones being `mask_token` (1, 1, D), with their positions."""
        ...

    def patches(self, entry: str) -> Tensor:
        """(rows, N, P) of one modality, in raster order; those that are hidden are zero."""
        ...

    def class_position(self) -> Tensor | None:
        """(1, 1, D), to be added to the class token, where the positions have one for it."""
        ...

    def latent(
        self,
        tokens: Tensor,
        *,
        prefix: Tensor | None = None,
        everything: bool = False,
        layers: Mapping[int, Tensor] | None = None,
    ) -> Latent:
        """What the encoder returns: `tokens` in the order of `ids`, or of `every_id` where it returns everything."""
        ...


class Encoder(nn.Module, ABC):
    """Visible patches -> latents. Built as `encoder(inputs, **recipe)`.

    `inputs` are the model's tokenizers by name, without projections: an encoder that embeds by itself reads its geometry there.
    """

    width: int
    """D of the latents."""
    token_width: int | None
    """D of the tokens that it asks for; None for an encoder that embeds patches by itself."""
    num_prefix_tokens: int
    num_layers: int
    """The layers that `layers` may name are 0, the input of the first block, to this number, the output of the last one."""
    returns_all: bool = False
    """Whether the latent holds every patch in raster order, hidden ones too: then ragged masks will do, and a decoder reads its
    predictions from the latent instead of adding mask tokens."""

    @abstractmethod
    def forward(self, visible: Visible, *, layers: Sequence[int] = ()) -> Latent:
        """The latent of what is visible; with the outputs of the chosen layers, before any last norm."""
