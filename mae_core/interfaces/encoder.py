"""Encoders, what they are shown and what they return. `rows` is samples x contexts of each; K patches are kept of N."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from mae_core.interfaces.mask import Mask
from mae_registry import ConfigError, MaeError


@dataclass  # not frozen: Lightning Fabric copies a model's outputs field by field
class Latent:
    """What an encoder made of the visible patches of all modalities together."""

    x: Tensor
    """(rows, P + K, D): prefix tokens (a class token and its like; P may be 0), then those of patches."""
    num_prefix: int
    """P."""
    ids: Tensor
    """(rows, K): which patches these are, numbered over the modalities in `spans`, one after the other."""
    spans: Mapping[str, tuple[int, int]]
    """For each modality of the model, the number of its first patch and the number of its patches."""
    counts: Mapping[str, int] | None
    """Tokens of each modality, which lie one modality after the other; None where that differs from row to row."""
    layers: dict[int, Tensor] = field(default_factory=dict)
    """(rows, P + K, D), prefix first: outputs of the layers that were asked for, numbered by the encoder.

    Those of hierarchical encoders have a width of their own and, where a patch has several tokens, the axes of these:
    (rows, P + K, *finer, D).
    """

    @property
    def tokens(self) -> Tensor:
        """(rows, K, D), without prefix tokens."""
        return self.x[:, self.num_prefix :]

    @property
    def prefix(self) -> Tensor:
        """(rows, P, D)."""
        return self.x[:, : self.num_prefix]

    def of(self, entry: str) -> "Latent":
        """One modality's tokens, with ids of its own. Raises MaeError where rows hold different numbers of them."""
        if self.counts is None:
            raise MaeError(
                f"the masks of {entry!r} hide a different number of patches in each sample, which needs an encoder over all "
                "tokens (model.encoder.mask_tokens=true), a decoder that attends to all modalities, or exact counts"
            )
        offset, number = self.spans[entry]
        if list(self.counts) == [entry]:
            ids = self.ids - offset if offset else self.ids
            return replace(self, ids=ids, spans={entry: (0, number)})
        parts = [self.num_prefix, *self.counts.values()]
        place = list(self.counts).index(entry)

        def own(x: Tensor) -> Tensor:
            prefix, *tokens = x.split(parts, dim=1)
            return torch.cat([prefix, tokens[place]], dim=1)

        return Latent(
            own(self.x),
            self.num_prefix,
            self.ids.split(parts[1:], dim=1)[place] - offset,
            spans={entry: (0, number)},
            counts={entry: self.counts[entry]},
            layers={layer: own(x) for layer, x in self.layers.items()},
        )

    def at(self, layer: int) -> "Latent":
        """The output of one of `layers`, in place of the encoder's own."""
        return replace(self, x=self.layers[layer], layers={})

    def pooled(self, kind: Literal["mean", "cls"] = "mean") -> Tensor:
        """(rows, D): the mean of the patches' tokens, or the class token. Raises MaeError where there is none."""
        if kind == "mean":
            return self.tokens.flatten(1, -2).mean(dim=1)  # layers of hierarchical encoders have several tokens of a patch
        if kind != "cls":
            raise MaeError(f"tokens can be pooled by 'mean' or 'cls', but not by {kind!r}")
        if self.num_prefix == 0:
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
        self, x: Tensor, *, num_prefix: int = 0, everything: bool = False, layers: Mapping[int, Tensor] | None = None
    ) -> Latent:
        """What the encoder returns: prefix tokens, then those of `ids`, or of `every_id` where it returns everything."""
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
    """The layers that `layers` may name are 0, the input of the first block, to this number, the output of the last one. Which
    of a block's results is its output is the encoder's matter: it may be what its MLP gives, before that is added."""
    returns_all: bool = False
    """Whether the latent holds every patch in raster order, hidden ones too: then ragged masks will do, and a decoder reads its
    predictions from the latent instead of adding mask tokens."""

    @abstractmethod
    def forward(self, visible: Visible, *, layers: Sequence[int] = ()) -> Latent:
        """The latent of what is visible; with the outputs of the chosen layers, before any last norm."""

    def layer_of(self, name: str) -> int | None:
        """The layer of a parameter, by its name inside the encoder, for learning rates that grow with the layer.

        0 is the encoder's input, where the tokenizer and positions are too; block i, counted from 0, is i + 1. None is for what
        comes after all blocks, which learns as fast as the head does.
        """
        part, _, rest = name.partition(".")
        if part in ("cls_token", "mask_token"):
            return 0
        return int(rest.partition(".")[0]) + 1 if part == "blocks" else None

    @property
    def num_blocks(self) -> int:
        """Of all stages together: the layer of the last one, by `layer_of`."""
        layers = (self.layer_of(name) for name, _ in self.named_parameters())
        return max((layer for layer in layers if layer is not None), default=0)

    def check_mask(self, mask: Mask) -> None:
        """Raise ConfigError for a mask of one modality that the encoder cannot be shown; asked when a model is built."""
        if mask.ragged and not self.returns_all:
            raise ConfigError(
                "this masker hides a different number of patches in each sample, which needs an encoder over all tokens: "
                "set model.encoder.mask_tokens=true, or make the masker's count exact"
            )
