"""Layouts that are written down as tables: our names on one side, the published ones on the other.

    class MyLayout(TableLayout):
        modality = "..."
        names = {
            ENCODER + "cls_token": "cls_token",           # a tensor, which the model must have
            ENCODER + "blocks.": "blocks.",               # everything whose name begins so
            ENCODER + "mask_token": None,                 # left out of the checkpoint, where a model has it
            INPUT + "tokenizer.": "patch_embed.",
        }
        pieces = {"attn.qkv.bias": ("attn.q_bias", None, "attn.v_bias")}     # ours is their concatenation; None: zeros
        positions = {INPUT + "positions": PositionTable("pos_embed", class_token=ENCODER + "cls_token")}

The first name that fits counts. `{entry}` stands for the modality's name in the model.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from mae_core.interfaces import Layout, Tokenizer
from mae_core.layouts.forms import Convolution, Form, PositionTable
from mae_core.layouts.shapes import rounding
from mae_core.model.backbone import Backbone
from mae_registry import MaeError, some_of

BACKBONE = "backbone."
ENCODER = "backbone.encoder."
INPUT = "backbone.inputs.{entry}."
DECODER = "modalities.{entry}.decoder."
HEAD = "head."
ROOMS = {ENCODER: 2, "backbone.inputs.": 3, "modalities.": 3, "teachers.": 2, HEAD: 1}
"""How the names of the model's parts begin, and how many words of a name say which part it is of."""


@dataclass(frozen=True)
class Table:
    """A layout for one model: `{entry}` filled in, and how patches are arranged."""

    names: Mapping[str, str | None]
    pieces: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    positions: Mapping[str, PositionTable] = field(default_factory=dict)
    forms: Mapping[str, Form] = field(default_factory=dict)
    encoder_layout: str = ""
    left_out: Sequence[str] = ()

    def to_model(self, model: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published tensors -> this model's."""
        places = self._places(model)
        tables = self._tables(model)
        self._require_same(model, state_dict, [*places.values(), [table.name for table in tables.values()]])
        own = {ours: self._arranged(ours, some, state_dict) for ours, some in places.items()}
        for where, table in tables.items():
            self._import_positions(own, model, where, table, state_dict[table.name])
        return {_actual(model, ours): tensor for ours, tensor in own.items()}

    def from_model(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by the model's names -> by the published ones; position tables that are fixed are added from the model."""
        places = self._places(model)
        given = {_full(model, name): tensor for name, tensor in tensors.items()}
        published: dict[str, Tensor] = {}
        for ours, some in places.items():
            if ours in given:
                tensor = self.forms[ours].to_published(given[ours]) if ours in self.forms else given[ours]
                parts = tensor.chunk(len(some)) if len(some) > 1 else (tensor,)
                published |= {piece: part for piece, part in zip(some, parts, strict=True) if piece is not None}
        for where, table in self._tables(model).items():
            own = given.get(f"{where}.table", _own_positions(model, where).detach())
            published[table.name] = table.published(own, given.get(f"{where}.class_row"))
        return published

    def _places(self, model: nn.Module) -> dict[str, list[str | None]]:
        """Our name -> the published tensors of which ours is the concatenation, but for position tables.

        Raises MaeError for a model that has what the layout has no place for, or lacks what it has.
        """
        own = [_full(model, name) for name in model.state_dict()]
        here = [name for name in self.names if not _is_elsewhere(model, name)]
        lacking = [name for name in here if not name.endswith(".") and self.names[name] is not None and name not in own]
        places: dict[str, list[str | None]] = {}
        unplaced: list[str] = []
        rooms = tuple({_room(name) for name in (*here, *self._tables(model))})
        for ours in own:
            fitting = next((name for name in here if ours == name or (name.endswith(".") and ours.startswith(name))), None)
            if self._is_of_positions(ours):
                continue
            if fitting is None:
                unplaced += [ours] if ours.startswith(rooms) else []
            elif (published := self.names[fitting]) is not None:
                places[ours] = self._in_pieces(published + ours.removeprefix(fitting))
        homeless = f"this layout has no place for the model's {some_of(unplaced)}"
        if lacking:
            other = f"; it may be of another kind of model: {homeless}" if unplaced else ""
            raise MaeError(f"this layout has {self.names[lacking[0]]}; this model has no {lacking[0]}{other}")
        if unplaced:
            raise MaeError(homeless)
        return places

    def _is_of_positions(self, ours: str) -> bool:
        where, _, part = ours.rpartition(".")
        table = self.positions.get(where)
        return table is not None and (part == "table" or (part == "class_row" and table.takes_class_row))

    def _in_pieces(self, published: str) -> list[str | None]:
        for suffix, pieces in self.pieces.items():
            if published.endswith(suffix):
                start = published.removesuffix(suffix)
                return [None if piece is None else start + piece for piece in pieces]
        return [published]

    def _tables(self, model: nn.Module) -> dict[str, PositionTable]:
        return {where: table for where, table in self.positions.items() if not _is_elsewhere(model, where)}

    def _require_same(
        self, model: nn.Module, state_dict: Mapping[str, Tensor], expected: Iterable[Sequence[str | None]]
    ) -> None:
        """Raise MaeError for tensors that the checkpoint lacks, or has too many."""
        wanted = {name for some in expected for name in some if name is not None}
        if missing := sorted(wanted - set(state_dict)):
            raise MaeError(f"the checkpoint lacks {some_of(missing)}{self._why(model, state_dict, missing)}")
        elsewhere = (*self._elsewhere(model), *self.left_out)
        if extra := sorted(name for name in set(state_dict) - wanted if not (elsewhere and name.startswith(elsewhere))):
            raise MaeError(
                f"the checkpoint has {some_of(extra)}, for which this model has no place: name the recipe of a model that has, "
                "or take out of the file what is not needed"
            )

    def _elsewhere(self, model: nn.Module) -> list[str]:
        """Published names, or their beginnings, of what a backbone alone does not have."""
        names = {**self.names, **{where: table.name for where, table in self.positions.items()}}
        return [published for ours, published in names.items() if published and _is_elsewhere(model, ours)]

    def _why(self, model: nn.Module, state_dict: Mapping[str, Tensor], missing: Sequence[str]) -> str:
        others = tuple(published for ours, published in self.names.items() if published and not ours.startswith(BACKBONE))
        is_encoder = bool(others) and not any(name.startswith(others) for name in state_dict)
        if is_encoder and self.encoder_layout and not isinstance(model, Backbone):
            return f"; it holds an encoder alone: import it with layout {self.encoder_layout!r}"
        return "; build the model from the recipe that the checkpoint was trained with"

    def _arranged(self, ours: str, pieces: Sequence[str | None], state_dict: Mapping[str, Tensor]) -> Tensor:
        present = [state_dict[piece] for piece in pieces if piece is not None]
        if len(pieces) > 1:
            like = present[0]
            present = [torch.cat([torch.zeros_like(like) if piece is None else state_dict[piece] for piece in pieces])]
        if ours not in self.forms:
            return present[0]
        try:
            return self.forms[ours].to_ours(present[0])
        except MaeError as error:
            raise MaeError(f"{pieces[0]} {error}") from None

    def _import_positions(
        self, own: dict[str, Tensor], model: nn.Module, where: str, table: PositionTable, published: Tensor
    ) -> None:
        """Compare fixed positions, add learned ones to `own`; what the class token adds to itself goes to it."""
        ours = _own_positions(model, where)
        rows = table.rows(published, like=ours)
        first = 0 if table.planes is not None else table.class_rows
        if f"{where}.class_row" in {_full(model, name) for name in model.state_dict()}:
            own[f"{where}.class_row"] = rows[:first].unsqueeze(0)
        elif table.class_token is not None:
            own[table.class_token] = own[table.class_token] + rows[:first]
        elif not rows.is_meta and bool(rows[:first].any()):
            raise MaeError(f"{table.name}: the checkpoint has a position for the class token, but this model adds none to it")
        if isinstance(ours, nn.Parameter):
            own[f"{where}.table"] = rows[first:]
        elif not (ours.is_meta or rows.is_meta):
            error = float((ours - rows[first:].to(ours)).abs().max())
            if not error <= rounding(published):
                raise MaeError(
                    f"{table.name}: the checkpoint's positions differ from this model's fixed ones by up to {error:.2g}; in "
                    f"the recipe, name the positions that it was trained with, or `learned`, which may be any ({where})"
                )


class TableLayout(Layout):
    """A layout that is a table; see this module's description."""

    names: ClassVar[Mapping[str, str | None]]
    pieces: ClassVar[Mapping[str, Sequence[str | None]]] = {}
    """By the ends of published names, the names of the rows of a fused projection where they are stored apart."""
    positions: ClassVar[Mapping[str, PositionTable]] = {}
    """The tables of positions, by our own names."""
    tokenizer: ClassVar[str] = INPUT + "tokenizer"
    convolutions: ClassVar[Sequence[str]] = (INPUT + "tokenizer.proj.weight",)
    """Our matrices that are published as convolutions over patches."""
    encoder_layout: ClassVar[str] = ""
    """The layout of an encoder alone, for the message where a checkpoint is one."""
    left_out: ClassVar[Sequence[str]] = ()
    """How the published names of tensors begin that no model here has, such as a classifier's: they are not read."""

    def to_model(self, model: nn.Module, state_dict: Mapping[str, Tensor], *, entry: str) -> dict[str, Tensor]:
        """Published -> ours. Fixed position tables are compared, learned ones loaded."""
        return self.table(model, entry).to_model(model, state_dict)

    def from_model(self, model: nn.Module, tensors: Mapping[str, Tensor], *, entry: str) -> dict[str, Tensor]:
        """Ours -> published. Position tables are added from the model."""
        return self.table(model, entry).from_model(model, tensors)

    def table(self, model: nn.Module, entry: str) -> Table:
        """The table for this model. Raises MaeError for a model of another kind."""
        convolution = Convolution(self.patch_sides(find_tokenizer(model, self.tokenizer.format(entry=entry))))
        return Table(
            names={name.format(entry=entry): published for name, published in self.names.items()},
            pieces=self.pieces,
            positions={where.format(entry=entry): table.of(entry) for where, table in self.positions.items()},
            forms={name.format(entry=entry): convolution for name in self.convolutions},
            encoder_layout=self.encoder_layout,
            left_out=self.left_out,
        )

    def patch_sides(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Values along each axis of a patch, of a tokenizer whose patches lie side by side."""
        sizes = tokenizer.sample_shape[-len(tokenizer.grid.sizes) :]
        return tuple(size // number for size, number in zip(sizes, tokenizer.grid.sizes, strict=True))


def find_tokenizer(model: nn.Module, name: str) -> Tokenizer:
    """The tokenizer that has this name in the model. Raises MaeError if there is none."""
    try:
        found = model.get_submodule(_actual(model, name))
    except AttributeError:
        raise MaeError(f"this layout is for another kind of model; {type(model).__name__} has no {name}") from None
    assert isinstance(found, Tokenizer)
    return found


def _full(model: nn.Module, name: str) -> str:
    """The name in a masked autoencoder, whose backbone a model may be."""
    return BACKBONE + name if isinstance(model, Backbone) else name


def _actual(model: nn.Module, name: str) -> str:
    """The name in this model."""
    return name.removeprefix(BACKBONE) if isinstance(model, Backbone) else name


def _is_elsewhere(model: nn.Module, name: str) -> bool:
    """Whether this model, a backbone alone, has no such part."""
    return isinstance(model, Backbone) and not name.startswith(BACKBONE)


def _room(name: str) -> str:
    """The part of the model every tensor of which must have a place, if this one has."""
    for room, num_words in ROOMS.items():
        if name.startswith(room):
            return ".".join([*name.split(".")[:num_words], ""])
    return ""


def _own_positions(model: nn.Module, where: str) -> Tensor:
    """(N, D): a parameter if it is learned, a buffer if it is fixed."""
    positions = model.get_submodule(_actual(model, where))
    table = getattr(positions, "table", None)
    if not isinstance(table, Tensor):
        raise MaeError(f"this layout has one position for each patch, but the model has {type(positions).__name__} ({where})")
    return table
