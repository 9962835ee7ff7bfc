"""Names and shapes of the published SatMAE checkpoints: of grouped bands, and of images at several dates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from mae_core.interfaces import Found, Tokenizer
from mae_core.layouts.forms import PositionTable
from mae_core.layouts.shapes import FAMILY_HEADS, depth, has, patches, square_sides, transformer
from mae_core.layouts.table import DECODER, ENCODER, INPUT, Table, TableLayout, find_tokenizer
from mae_methods.satmae.bands import GROUPS, require_groups
from mae_methods.satmae.positions import NUM_UNITS

NAMES = {
    ENCODER + "cls_token": "cls_token",
    ENCODER + "blocks.": "blocks.",
    ENCODER + "norm.": "norm.",
    DECODER + "embed.": "decoder_embed.",
    DECODER + "mask_token": "mask_token",
    DECODER + "blocks.": "decoder_blocks.",
    DECODER + "norm.": "decoder_norm.",
    DECODER + "head.": "decoder_pred.",
}
PLACES = {
    INPUT + "positions.place": PositionTable("pos_embed"),
    DECODER + "positions.place": PositionTable("decoder_pos_embed"),
}

MARKS = ("cls_token", "pos_embed", "mask_token", "decoder_pos_embed", "blocks.0.attn.qkv.weight", "decoder_blocks.")
DECODER_HEADS = {512: 16}
"""Of the published decoders, by their width."""
NUM_IMAGES = 3
"""Of one place, in the published model."""


class GroupLayout(TableLayout):
    """A published checkpoint of grouped bands, with an embedding and a head for each group."""

    modality = "multispectral"
    names: ClassVar = NAMES
    positions: ClassVar = {
        **PLACES,
        INPUT + "positions.group": PositionTable("channel_embed", class_rows=0),
        # one row more than there are groups, the class token's
        DECODER + "positions.group": PositionTable("decoder_channel_embed", class_rows=0),
    }

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """The published groups of bands: weights say how many bands a group has, but not which."""
        if not has(weights, "channel_embed", "decoder_channel_embed", "patch_embed.0.proj.weight", *MARKS):
            return None
        num_groups = depth(weights, "patch_embed")
        counts = tuple(weights[f"patch_embed.{number}.proj.weight"].shape[1] for number in range(num_groups))
        patch = list(weights["patch_embed.0.proj.weight"].shape[2:])
        sides = square_sides(weights["pos_embed"].shape[1] - 1, patch)
        if sides is None:
            return None
        published = [list(group) for group in GROUPS]
        groups = published if counts == tuple(map(len, GROUPS)) else None
        parts = {
            "tokenizer": {"patch_size": patch, "input_size": sides},
            "positions": {"group_width": weights["channel_embed"].shape[-1]},
            "decoder_positions": {"group_width": weights["decoder_channel_embed"].shape[-1]},
        }
        assumed = {f"model.modalities.{self.modality}.tokenizer.groups": groups}
        title = "a SatMAE of grouped bands, encoder and decoder"
        return _found(title, "methods/satmae_group_base", weights, self.modality, parts, assumed)

    def table(self, model: nn.Module, entry: str) -> Table:
        """The table for this model. Raises MaeError for another tokenizer."""
        where = self.tokenizer.format(entry=entry)
        bands = require_groups(find_tokenizer(model, where), what="this layout")
        embeddings = {f"{where}.proj.{number}.": f"patch_embed.{number}.proj." for number in range(len(bands.groups))}
        return Table(
            names={name.format(entry=entry): published for name, published in self.names.items()} | embeddings,
            positions={name.format(entry=entry): table.of(entry) for name, table in self.positions.items()},
            forms={f"{name}weight": BandsFirst(bands.patch_sides) for name in embeddings},
        )


class TemporalLayout(TableLayout):
    """A published checkpoint of images at several dates, which share one embedding."""

    modality = "dated_images"
    names: ClassVar = {**NAMES, INPUT + "tokenizer.": "patch_embed."}
    positions: ClassVar = PLACES

    def recognize(self, weights: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Found | None:
        """Of the width, the table of places leaves three equal parts to the units of a date."""
        if not has(weights, "patch_embed.proj.weight", *MARKS):
            return None
        widths = {"positions": ("cls_token", "pos_embed"), "decoder_positions": ("mask_token", "decoder_pos_embed")}
        units = {name: divmod(weights[a].shape[-1] - weights[b].shape[-1], NUM_UNITS) for name, (a, b) in widths.items()}
        tokenizer = patches(weights["patch_embed.proj.weight"])
        sides = square_sides(weights["pos_embed"].shape[1] - 1, tokenizer["patch_size"])
        if sides is None or any(left or unit <= 0 for unit, left in units.values()):
            return None
        parts: dict[str, Any] = {name: {"unit_width": unit} for name, (unit, _) in units.items()}
        parts["tokenizer"] = {**tokenizer, "patch_size": [1, *tokenizer["patch_size"]]}
        assumed = {f"model.modalities.{self.modality}.tokenizer.input_size": [NUM_IMAGES, *sides]}
        title = "a SatMAE of images at several dates, encoder and decoder"
        return _found(title, "methods/satmae_temporal_large", weights, self.modality, parts, assumed)

    def patch_sides(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Height and width: each image is embedded on its own."""
        return super().patch_sides(tokenizer)[1:]


@dataclass(frozen=True)
class BandsFirst:
    """The convolution of a group of bands, (D, bands, p, q); ours is a matrix, (D, bands * p * q)."""

    sides: tuple[int, int]

    def to_ours(self, tensor: Tensor) -> Tensor:
        """(D, bands, p, q) -> (D, bands * p * q)."""
        return tensor.flatten(1)

    def to_published(self, tensor: Tensor) -> Tensor:
        """The inverse."""
        return tensor.unflatten(1, (-1, *self.sides))


def _found(
    title: str, recipe: str, weights: Mapping[str, Tensor], entry: str, parts: dict[str, Any], assumed: dict[str, Any]
) -> Found:
    encoder, decoder = transformer(weights, "blocks"), transformer(weights, "decoder_blocks")
    heads = {
        "model.encoder.heads": FAMILY_HEADS.get(encoder["width"]),
        f"model.modalities.{entry}.decoder.heads": DECODER_HEADS.get(decoder["width"]),
    }
    model = {"encoder": encoder, "modalities": {entry: {**parts, "decoder": decoder}}}
    return Found(title, recipe, model, {**heads, **assumed})
