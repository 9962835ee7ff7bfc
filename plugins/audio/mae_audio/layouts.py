"""Names and shapes of the published Audio-MAE checkpoints: pre-training, and the fine-tuning classifier."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from mae_audio.classifier import SpectrogramClassifier
from mae_audio.tokenizer import SpectrogramPatches
from mae_core.interfaces import Layout, Positions
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.parts.positions import Learned, SinCos
from mae_registry import MaeError, some_of

PARTS = "modalities.audio."
PATCH_WEIGHT = "patch_embed.proj.weight"
TABLE_TOLERANCE = 1e-5
"""How far a published fixed table may lie from ours: rounding, not another rule."""


class _AudioLayout(Layout):
    """Names are replaced prefix by prefix; the patches' weights are a convolution's; position tables have a class row."""

    names: ClassVar[Mapping[str, str]]
    tables: ClassVar[Mapping[str, str]]
    """Our position components -> the published tables."""
    tokenizer: ClassVar[str]

    def to_model(self, model: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published -> ours. Fixed position tables are compared, learned ones loaded."""
        self._require(model)
        published = {ours: name for ours in model.state_dict() if (name := self._published(ours))}
        expected = {*published.values(), *self.tables.values()}
        if missing := sorted(expected - set(state_dict)):
            raise MaeError(f"the checkpoint lacks {some_of(missing)}")
        if extra := sorted(set(state_dict) - expected):
            raise MaeError(f"the checkpoint has {some_of(extra)}, for which this model has no place")
        own = {ours: state_dict[name] for ours, name in published.items()}
        weight = f"{self.tokenizer}.proj.weight"
        if own[weight].ndim != 4:
            raise MaeError(f"{PATCH_WEIGHT} has shape {tuple(own[weight].shape)}; a convolution's has 4 axes")
        own[weight] = rearrange(own[weight], "d c p q -> d (p q c)")
        for where, name in self.tables.items():
            own |= _import_table(_table(model, where), f"{where}.table", name, state_dict[name])
        # the class token's own position is added to it once and for all: the encoder adds none
        (cls_token,) = (ours for ours, name in published.items() if name == "cls_token")
        own[cls_token] = own[cls_token] + state_dict["pos_embed"][:, :1]
        return own

    def from_model(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Ours -> published. Position tables are added from the model."""
        self._require(model)
        published = {name: tensor for ours, tensor in tensors.items() if (name := self._published(ours))}
        tokenizer = model.get_submodule(self.tokenizer)
        assert isinstance(tokenizer, SpectrogramPatches)
        p, q = tokenizer.patch_size
        published[PATCH_WEIGHT] = rearrange(published[PATCH_WEIGHT], "d (p q) -> d 1 p q", p=p, q=q).contiguous()
        for where, name in self.tables.items():
            table = _table(model, where)
            published[name] = torch.cat([torch.zeros_like(table[:1]), table]).unsqueeze(0)
        return published

    @abstractmethod
    def _require(self, model: nn.Module) -> None:
        """Raise MaeError unless the model is of the kind that this layout is for."""

    def _published(self, ours: str) -> str | None:
        if ours.endswith("positions.table"):
            return None
        for prefix, name in self.names.items():
            if ours.startswith(prefix):
                return name + ours.removeprefix(prefix)
        return None


class AudioMaeLayout(_AudioLayout):
    """A pre-training checkpoint, encoder and decoder (of local windows, or the core's `vit` for the global one)."""

    names: ClassVar = {
        "encoder.cls_token": "cls_token",
        "encoder.blocks.": "blocks.",
        "encoder.norm.": "norm.",
        PARTS + "tokenizer.proj.": "patch_embed.proj.",
        PARTS + "decoder.embed.": "decoder_embed.",
        PARTS + "decoder.mask_token": "mask_token",
        PARTS + "decoder.blocks.": "decoder_blocks.",
        PARTS + "decoder.norm.": "decoder_norm.",
        PARTS + "decoder.head.": "decoder_pred.",
    }
    tables: ClassVar = {PARTS + "positions": "pos_embed", PARTS + "decoder.positions": "decoder_pos_embed"}
    tokenizer: ClassVar = PARTS + "tokenizer"

    def _require(self, model: nn.Module) -> None:
        if not isinstance(model, MaskedAutoencoder):
            raise MaeError("layout 'audiomae' is of pre-training checkpoints; a classifier's is 'audiomae_vit'")
        model.parts("audio")
        if model.encoder.num_prefix_tokens != 1:
            raise MaeError("this layout has a class token; the model has none (model.encoder.class_token)")


class AudioMaeVitLayout(_AudioLayout):
    """A fine-tuned classifier, `SpectrogramClassifier`."""

    names: ClassVar = {
        "cls_token": "cls_token",
        "blocks.": "blocks.",
        "fc_norm.": "fc_norm.",
        "head.": "head.",
        "tokenizer.proj.": "patch_embed.proj.",
    }
    tables: ClassVar = {"positions": "pos_embed"}
    tokenizer: ClassVar = "tokenizer"

    def _require(self, model: nn.Module) -> None:
        if not isinstance(model, SpectrogramClassifier):
            raise MaeError("layout 'audiomae_vit' is of fine-tuned classifiers; a pre-training checkpoint's is 'audiomae'")


def _table(model: nn.Module, where: str) -> Tensor:
    """(N, D): a parameter if it is learned, a buffer if it is fixed."""
    positions = model.get_submodule(where)
    assert isinstance(positions, Positions)
    if not isinstance(positions, Learned | SinCos):
        raise MaeError(f"this layout holds one position a patch; the model has {type(positions).__name__}")
    return positions.table


def _import_table(own: Tensor, own_name: str, name: str, table: Tensor) -> dict[str, Tensor]:
    """Compare a fixed position table with the published one, or load a learned one."""
    expected = (1, 1 + own.shape[0], own.shape[1])
    if table.shape != expected:
        raise MaeError(f"{name}: the checkpoint has shape {tuple(table.shape)}, this model {expected}")
    if not table.is_meta and name != "pos_embed" and bool(table[:, 0].any()):
        raise MaeError(f"{name}: the checkpoint gives the class token a position in the decoder, which has none")
    if isinstance(own, nn.Parameter):
        return {own_name: table[0, 1:]}
    if not own.is_meta and (error := float((own - table[0, 1:].to(own)).abs().max())) > TABLE_TOLERANCE:
        raise MaeError(
            f"{name}: the checkpoint's positions differ from this model's fixed ones by up to {error:.2g}; "
            "the published ones are model.modalities.audio.positions=sincos_swapped, trained ones need `learned`"
        )
    return {}
