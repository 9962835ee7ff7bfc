"""Names and shapes of published video checkpoints: VideoMAE (V1 and V2) and MAE-ST."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from mae_core.interfaces import Layout
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_registry import MaeError, some_of

OURS = "modalities.video."
TUBELET_WEIGHT = OURS + "tokenizer.proj.weight"


class PublishedLayout(Layout):
    """Names by prefix; attention in the pieces that the release stores. Both directions read the same two tables."""

    names: ClassVar[Mapping[str, str]]
    """Prefix of our names -> prefix of the published ones."""

    @abstractmethod
    def pieces(self, name: str) -> list[str | None]:
        """Published tensors of which ours is the concatenation. `name`: ours with its prefix replaced; None: zeros."""

    def to_model(self, model: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published -> ours."""
        pieces = {ours: self.pieces(self._renamed(ours)) for ours in model.state_dict()}
        expected = {piece for some in pieces.values() for piece in some if piece is not None}
        if missing := sorted(expected - set(state_dict)):
            raise MaeError(
                f"the checkpoint lacks {some_of(missing)}, which this model has: build it from the checkpoint's recipe"
            )
        if extra := sorted(set(state_dict) - expected):
            raise MaeError(f"the checkpoint has {some_of(extra)}, for which this model has no place")
        own = {ours: _join(some, state_dict) for ours, some in pieces.items()}
        if own[TUBELET_WEIGHT].ndim != 5:
            raise MaeError(
                f"{pieces[TUBELET_WEIGHT][0]} has shape {tuple(own[TUBELET_WEIGHT].shape)}; a 3-D convolution's has 5 axes"
            )
        own[TUBELET_WEIGHT] = rearrange(own[TUBELET_WEIGHT], "d c t p q -> d (t p q c)")
        return own

    def from_model(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Ours -> published."""
        assert isinstance(model, MaskedAutoencoder)
        tokenizer = model.parts("video").tokenizer
        channels, *input_size = tokenizer.sample_shape
        t, p, q = (size // number for size, number in zip(input_size, tokenizer.grid.sizes, strict=True))
        published: dict[str, Tensor] = {}
        for ours, tensor in tensors.items():
            if ours == TUBELET_WEIGHT:
                tensor = rearrange(tensor, "d (t p q c) -> d c t p q", c=channels, t=t, p=p, q=q).contiguous()
            some = self.pieces(self._renamed(ours))
            for piece, part in zip(some, tensor.chunk(len(some)), strict=True):
                if piece is not None:
                    published[piece] = part
        return published

    def _renamed(self, ours: str) -> str:
        for prefix, name in self.names.items():
            if ours.startswith(prefix):
                return name + ours.removeprefix(prefix)
        raise MaeError(f"this layout has no name for {ours}; the model differs from the published one in that part")


class VideoMaeLayout(PublishedLayout):
    """A published VideoMAE or VideoMAE V2 pre-training checkpoint.

    Its attention has no bias of the keys. Ours is zero on import, and left out on export: softmax ignores it, so that the
    predictions are the same whatever it is.
    """

    names: ClassVar = {
        "encoder.": "encoder.",
        OURS + "tokenizer.": "encoder.patch_embed.",
        OURS + "decoder.embed.": "encoder_to_decoder.",
        OURS + "decoder.mask_token": "mask_token",
        OURS + "decoder.": "decoder.",
    }

    def pieces(self, name: str) -> list[str | None]:
        """Query, key and value biases are apart."""
        if name.endswith(".attn.qkv.bias"):
            attention = name.removesuffix("qkv.bias")
            return [attention + "q_bias", None, attention + "v_bias"]
        return [name]


class MaeStLayout(PublishedLayout):
    """A published MAE-ST pre-training checkpoint."""

    names: ClassVar = {
        "encoder.": "",
        OURS + "tokenizer.": "patch_embed.",
        OURS + "positions.of_class_token": "pos_embed_class",
        OURS + "positions.": "pos_embed_",
        OURS + "decoder.mask_token": "mask_token",
        OURS + "decoder.head.": "decoder_pred.",
        OURS + "decoder.positions.of_class_token": "decoder_pos_embed_class",
        OURS + "decoder.positions.": "decoder_pos_embed_",
        OURS + "decoder.": "decoder_",
    }

    def pieces(self, name: str) -> list[str | None]:
        """Query, key and value projections are apart."""
        attention, found, kind = name.rpartition(".qkv.")
        return [f"{attention}.{projection}.{kind}" for projection in "qkv"] if found else [name]


def _join(pieces: list[str | None], state_dict: Mapping[str, Tensor]) -> Tensor:
    present = [state_dict[piece] for piece in pieces if piece is not None]
    if len(pieces) == 1:
        return present[0]
    like = present[0]
    return torch.cat([torch.zeros_like(like) if piece is None else state_dict[piece] for piece in pieces])
