"""Names and shapes of the published SatMAE checkpoints: of grouped bands, and of images at several dates."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mae_core.interfaces import Tokenizer
from mae_core.layouts.table import DECODER, ENCODER, INPUT, PositionTable, Table, TableLayout, find_tokenizer
from mae_methods.satmae.bands import require_groups

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
