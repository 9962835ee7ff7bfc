"""Names and shapes of published image checkpoints: MAE's own, and timm's VisionTransformer."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from mae_core.interfaces import Layout, Tokenizer
from mae_core.model.autoencoder import MaskedAutoencoder, ModalityParts
from mae_core.parts.positions import Learned, SinCos
from mae_registry import MaeError, some_of

OURS = "modalities.image."
ENCODER_NAMES = {
    "encoder.cls_token": "cls_token",
    "encoder.blocks.": "blocks.",
    "encoder.norm.": "norm.",
    OURS + "tokenizer.proj.": "patch_embed.proj.",
}
DECODER_NAMES = {
    OURS + "decoder.embed.": "decoder_embed.",
    OURS + "decoder.mask_token": "mask_token",
    OURS + "decoder.blocks.": "decoder_blocks.",
    OURS + "decoder.norm.": "decoder_norm.",
    OURS + "decoder.head.": "decoder_pred.",
}
TABLE_TOLERANCE = 1e-5
"""How far a published fixed table may lie from ours: rounding, not another rule."""


class TimmLayout(Layout):
    """timm's VisionTransformer, which is also the encoder part of a published MAE checkpoint."""

    names: ClassVar = ENCODER_NAMES
    tables: ClassVar = {"positions": "pos_embed"}
    complete: ClassVar[tuple[str, ...]] = ()
    """Parts of the model whose every tensor this layout holds."""

    def to_model(self, model: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published -> ours. Fixed position tables are compared, learned ones loaded."""
        parts = self._parts(model)
        own_names = [name for name in model.state_dict() if not name.endswith("positions.table")]
        published = {ours: name for ours in own_names if (name := self._published(ours))}
        expected = {*published.values(), *self.tables.values()}
        if missing := sorted(expected - set(state_dict)):
            raise MaeError(f"the checkpoint lacks {some_of(missing)}{_encoder_hint(missing)}")
        if extra := sorted(set(state_dict) - expected):
            raise MaeError(f"the checkpoint has {some_of(extra)}, for which this model has no place")
        own = {ours: state_dict[name] for ours, name in published.items()}
        weight = OURS + "tokenizer.proj.weight"
        if own[weight].ndim != 4:
            raise MaeError(f"patch_embed.proj.weight has shape {tuple(own[weight].shape)}; a convolution's has 4 axes")
        own[weight] = rearrange(own[weight], "d c p q -> d (p q c)")
        for where, name in self.tables.items():
            own |= _import_table(parts, where, name, state_dict[name])
        # the class token's own position is added to it once and for all: the encoder adds none
        own["encoder.cls_token"] = own["encoder.cls_token"] + state_dict["pos_embed"][:, :1]
        return own

    def from_model(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Ours -> published. Position tables are added from the model."""
        parts = self._parts(model)
        published = {name: tensor for ours, tensor in tensors.items() if (name := self._published(ours))}
        channels = parts.tokenizer.sample_shape[0]
        p, q = patch_size(parts.tokenizer)
        published["patch_embed.proj.weight"] = rearrange(
            published["patch_embed.proj.weight"], "d (p q c) -> d c p q", c=channels, p=p, q=q
        ).contiguous()
        for where, name in self.tables.items():
            table = _table(parts, where).detach()
            published[name] = torch.cat([torch.zeros_like(table[:1]), table]).unsqueeze(0)
        return published

    def _parts(self, model: nn.Module) -> ModalityParts:
        """The image's parts. Raises MaeError for a model that this layout cannot hold."""
        assert isinstance(model, MaskedAutoencoder)
        if model.encoder.num_prefix_tokens != 1:
            raise MaeError("this layout has a class token; the model has none (model.encoder.class_token)")
        held = [name for name, _ in model.named_parameters() if name.startswith(self.complete)]
        if unpublished := [n for n in held if not n.endswith("positions.table") and not self._published(n)]:
            raise MaeError(f"this layout has no place for the model's {some_of(unpublished)}")
        return model.parts("image")

    def _published(self, ours: str) -> str | None:
        for prefix, name in self.names.items():
            if ours.startswith(prefix):
                return name + ours.removeprefix(prefix)
        return None


class MaeLayout(TimmLayout):
    """A published MAE pre-training checkpoint, encoder and decoder."""

    names: ClassVar = ENCODER_NAMES | DECODER_NAMES
    tables: ClassVar = {"positions": "pos_embed", "decoder.positions": "decoder_pos_embed"}
    complete: ClassVar[tuple[str, ...]] = ("encoder.", OURS + "decoder.")


def patch_size(tokenizer: Tokenizer) -> Iterator[int]:
    """Height and width of a patch, in pixels."""
    sizes = zip(tokenizer.sample_shape[1:], tokenizer.grid.sizes, strict=True)
    return (size // num_patches for size, num_patches in sizes)


def _table(parts: ModalityParts, where: str) -> Tensor:
    """(N, D): a parameter if it is learned, a buffer if it is fixed."""
    positions = parts.get_submodule(where)
    if not isinstance(positions, Learned | SinCos):
        raise MaeError(f"this layout holds one position a patch; the model has {type(positions).__name__}")
    return positions.table


def _import_table(parts: ModalityParts, where: str, name: str, table: Tensor) -> dict[str, Tensor]:
    """Compare a fixed position table with the published one, or load a learned one."""
    own = _table(parts, where)
    if table.shape[1:] != (1 + own.shape[0], own.shape[1]):
        raise MaeError(
            f"{name}: the checkpoint has shape {tuple(table.shape)}, this model {(1, 1 + own.shape[0], own.shape[1])}"
        )
    if not table.is_meta and where != "positions" and bool(table[:, 0].any()):
        raise MaeError(
            f"{name}: the checkpoint gives the class token a position in the decoder, which this decoder adds none to"
        )
    if isinstance(own, nn.Parameter):
        return {f"{OURS}{where}.table": table[0, 1:]}
    if not own.is_meta and (error := float((own - table[0, 1:].to(own)).abs().max())) > TABLE_TOLERANCE:
        raise MaeError(
            f"{name}: the checkpoint's positions differ from this model's fixed ones by up to {error:.2g}; "
            "they were trained: set model.modalities.image.positions=learned"
        )
    return {}


def _encoder_hint(missing: list[str]) -> str:
    if all(name.startswith("decoder_") or name == "mask_token" for name in missing):
        return "; it holds an encoder alone: import it with layout 'timm'"
    return ""
