"""The weights of one backbone in another: of a size of input, of positions or of outputs that may differ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mae_core.interfaces import Encoder, Positions, Tokenizer
from mae_core.model.backbone import Backbone, Input
from mae_core.parts.positions import Learned, resize_table
from mae_registry import MaeError, some_of

SAME_POSITIONS = 1e-4
"""How far fixed positions may lie from those that an encoder was trained with."""


@dataclass(frozen=True)
class Transferred:
    """What one backbone took from another."""

    left: list[str]
    """Tensors of the old one for which the new one has no place."""
    fresh: list[str]
    """Tensors of the new one that the old one has not."""
    notes: list[str]
    """Differences that a person may want to know of."""


def transfer(new: Backbone, old: Backbone, *, interpolate: bool = False) -> Transferred:
    """Copy the weights of `old` into `new`, by name, so that both give the same features of the same samples.

    Learned positions are computed from those of `old`, which may be fixed. With `interpolate` the grids may differ: positions
    are then resized bicubically. Raises MaeError for backbones that do not fit each other.
    """
    entries = _matched_entries(new, old)
    _require_same_encoder(new.encoder, old.encoder)
    given = _renamed(old.state_dict(), entries)
    notes: list[str] = []
    class_row = torch.zeros(())
    for entry, theirs in entries.items():
        own, other = new.input(entry), old.input(theirs)
        notes += _compare_tokenizers(entry, own.tokenizer, other.tokenizer)
        if isinstance(own.positions, Learned):
            prefix = f"inputs.{entry}.positions."
            given = {name: tensor for name, tensor in given.items() if not name.startswith(prefix)}
            given |= {prefix + name: tensor for name, tensor in _learned(entry, own, other, interpolate=interpolate).items()}
            class_row = class_row + _unplaced_class_row(own.positions, other.positions)
        else:
            _require_same_positions(entry, own, other)
    if "encoder.cls_token" in given:
        given["encoder.cls_token"] = given["encoder.cls_token"] + class_row
    return _load(new, given, notes)


def _matched_entries(new: Backbone, old: Backbone) -> dict[str, str]:
    """For each modality of `new` the one of `old` that has its name, or else the only one of its type."""
    matched: dict[str, str] = {}
    for entry in new.inputs:
        fitting = [theirs for theirs, kind in old.types.items() if kind == new.types[entry]]
        if entry in fitting:
            matched[entry] = entry
        elif len(fitting) == 1:
            matched[entry] = fitting[0]
        else:
            raise MaeError(
                f"its model takes {', '.join(old.types)}, and the recipe's model takes {entry}"
                + (f", which may be any of {', '.join(fitting)}: give it one of these names" if fitting else "")
            )
    return matched


def _renamed(tensors: Mapping[str, Tensor], entries: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors of the encoder and of the entries' inputs, by the names that these have in the new backbone."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not name.startswith("inputs."):
            renamed[name] = tensor
        for entry, theirs in entries.items():
            if name.startswith(f"inputs.{theirs}."):
                renamed[f"inputs.{entry}." + name.removeprefix(f"inputs.{theirs}.")] = tensor
    return renamed


def _require_same_encoder(new: Encoder, old: Encoder) -> None:
    """Raise MaeError if they are of different kinds or sizes, such as the number of attention heads, which no tensor shows."""
    if type(new) is not type(old):
        raise MaeError(f"its encoder is a {type(old).__name__}, and model.encoder is a {type(new).__name__}")
    theirs = dict(_sizes(old))
    differing = [
        f"{name} is {theirs[name]} in it and {size} in model.encoder"
        for name, size in _sizes(new)
        if name in theirs and theirs[name] != size
    ]
    if differing:
        raise MaeError(f"its encoder has other sizes: {some_of(differing)}")


def _sizes(encoder: Encoder) -> Iterator[tuple[str, int]]:
    """The whole numbers that its modules keep as attributes; the number of prefix tokens may differ."""
    for place, module in encoder.named_modules():
        for name, value in vars(module).items():
            if type(value) is int and not name.startswith("_") and name != "num_prefix_tokens":
                yield f"{place}.{name}".lstrip("."), value


def _compare_tokenizers(entry: str, new: Tokenizer, old: Tokenizer) -> list[str]:
    """What differs without harm. Raises MaeError for patches of different shapes."""
    if new.grid.axes != old.grid.axes:
        raise MaeError(f"the grid of {entry!r} has the axes {', '.join(old.grid.axes)} in it, here {', '.join(new.grid.axes)}")
    if _patch_shape(new) != _patch_shape(old) or new.patch_dim != old.patch_dim:
        raise MaeError(
            f"it was trained on patches of {_describe_patch(old)}, and model.modalities.{entry}.tokenizer makes patches of "
            f"{_describe_patch(new)}; give it the same patch size and channels"
        )
    theirs = dict(old.named_buffers())
    return [
        f"{name} of model.modalities.{entry}.tokenizer differs from the checkpoint's"
        for name, values in new.named_buffers()
        if name in theirs and theirs[name].shape == values.shape and not torch.equal(theirs[name], values)
    ]


def _patch_shape(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Channels, if the samples have such an axis, and the sides of a patch."""
    num_leading = len(tokenizer.sample_shape) - len(tokenizer.grid.sizes)
    sides = zip(tokenizer.sample_shape[num_leading:], tokenizer.grid.sizes, strict=False)
    return (*tokenizer.sample_shape[: max(num_leading, 0)], *(length // size for length, size in sides))


def _describe_patch(tokenizer: Tokenizer) -> str:
    return f"{' x '.join(map(str, _patch_shape(tokenizer)))} ({tokenizer.patch_dim} values)"


def _learned(entry: str, new: Input, old: Input, *, interpolate: bool) -> dict[str, Tensor]:
    """The tensors of learned positions that equal those of `old` at every patch."""
    table = _values(old)
    if table is None:
        raise MaeError(f"the positions of {entry!r} depend on more than the grid in it, and cannot become learned ones")
    table = table.expand(old.tokenizer.grid.num_patches, new.positions(torch.zeros(1, 1, dtype=torch.long)).shape[-1]).clone()
    if new.tokenizer.grid != old.tokenizer.grid:
        if not interpolate:
            raise MaeError(
                f"the grid of {entry!r} is {old.tokenizer.grid} in it and {new.tokenizer.grid} here; to interpolate the "
                "positions, set init.interpolate=true"
            )
        table = resize_table(table, old.tokenizer.grid, new.tokenizer.grid)
    tensors = {"table": table}
    own = new.positions.class_position()
    if own is not None:
        row = old.positions.class_position()
        tensors["class_row"] = torch.zeros_like(own) if row is None else row.detach().clone()
    return tensors


def _unplaced_class_row(new: Positions, old: Positions) -> Tensor:
    """The class token's position, to be added to the token itself where the new positions have none for it."""
    row = old.class_position()
    return torch.zeros(()) if row is None or new.class_position() is not None else row.detach()


def _require_same_positions(entry: str, new: Input, old: Input) -> None:
    """Raise MaeError where positions that are not `learned` will not be those of `old`."""
    key = f"model.modalities.{entry}.positions"
    if _are_loaded_by_name(new, old) or _same(_values(new), _values(old)):
        return
    if new.tokenizer.grid != old.tokenizer.grid:
        raise MaeError(
            f"the grid of {entry!r} is {old.tokenizer.grid} in it and {new.tokenizer.grid} here; set {key}={{name: learned}} "
            "and init.interpolate=true to interpolate the positions"
        )
    raise MaeError(
        f"the positions of {entry!r} in it are other ones than those of {key}; set {key}={{name: learned}} to take them from it"
    )


def _are_loaded_by_name(new: Input, old: Input) -> bool:
    own, theirs = new.positions.state_dict(), old.positions.state_dict()
    same_shapes = own.keys() == theirs.keys() and all(own[name].shape == theirs[name].shape for name in own)
    return len(own) > 0 and type(new.positions) is type(old.positions) and same_shapes


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and bool(torch.allclose(one, other, rtol=0, atol=SAME_POSITIONS))


@torch.no_grad()
def _values(given: Input) -> Tensor | None:
    """(N, D), or (1, D) for all alike: the position of every patch; None where it depends on a sample's extras."""
    try:
        return given.positions(torch.arange(given.tokenizer.grid.num_patches).unsqueeze(0))[0]
    except (MaeError, KeyError):
        return None


def _load(new: nn.Module, given: Mapping[str, Tensor], notes: list[str]) -> Transferred:
    """By name. Raises MaeError where shapes differ."""
    own = new.state_dict()
    for name in own.keys() & given.keys():
        if own[name].shape != given[name].shape:
            raise MaeError(f"its tensor {name} has the shape {tuple(given[name].shape)}, and here {tuple(own[name].shape)}")
    new.load_state_dict({name: tensor for name, tensor in given.items() if name in own}, strict=False)
    left, fresh = ([name for name in one if name not in other] for one, other in ((given, own), (own, given)))
    return Transferred(left, fresh, notes)
