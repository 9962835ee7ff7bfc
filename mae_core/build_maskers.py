"""Recipes -> maskers, tried on their grids. They are made on the CPU, where masks are drawn, for models of any device."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from mae_core.config import load_masker
from mae_core.config.operators import OPERATORS, operator_of
from mae_core.interfaces import Grid, JointMasker, Latent, Mask, Masker, each_mask
from mae_core.masking.sampling import TRIAL_SIZE, trial_masks
from mae_core.registry import build_component
from mae_registry import ConfigError, resolve

Section = Mapping[str, Any]


def masker_from_section(section: str | Section, *, named: Section | None = None) -> Masker:
    """A masker from what a recipe says of it: a name, or a mapping with a `name` or an operator. Raises ConfigError.

    `named`: what `maskers:` of a recipe would hold.
    """
    return masker_from_resolved(load_masker(section, named=named))


def masker_from_resolved(section: Section) -> Masker:
    """The masker of a resolved section, with those that it is made of."""
    with torch.device("cpu"):
        operator = operator_of(section)
        return _named(section) if operator is None else _combined(section, operator)


def build_tried_masker(
    section: Section,
    grid: Grid,
    *,
    check: Callable[[Mask], None],
    patch_dim: int | None = None,
    make_latent: Callable[[int], Latent] | None = None,
) -> Masker:
    """The masker of a resolved section. Raises ConfigError if a model could not be trained with it on this grid.

    Args:
        check: raises ConfigError for masks that the encoder cannot be shown (`Encoder.check_mask`).
        patch_dim: values of a patch. Without it, maskers that need samples are not tried.
        make_latent: what the backbone might make of so many samples. Without it, maskers that need it are not tried.
    """
    masker = masker_from_resolved(section)
    for drawn in trial_masks(masker, grid, patch_dim=patch_dim, make_latent=make_latent):
        for mask in each_mask(drawn):
            check(mask)
            _require_trainable(mask, grid)
    return masker


def build_joint_masker(section: Section, grids: Mapping[str, Grid]) -> JointMasker:
    """The masker of paired modalities. Raises ConfigError if a model could not be trained with it on these grids."""
    with torch.device("cpu"):
        masker = None if operator_of(section) else build_component("maskers", section)
        if not isinstance(masker, JointMasker):
            raise ConfigError(
                "this masker masks a single modality, but model.masker must mask several together, "
                "e.g. {name: dirichlet, num_keep: 98}"
            )
        masks = masker(grids, TRIAL_SIZE, generator=torch.Generator().manual_seed(0))
    if missing := [entry for entry in grids if entry not in masks]:
        raise ConfigError(f"this masker returned no mask for {', '.join(missing)}")
    if all(bool(mask.hidden.all()) for mask in masks.values()):
        raise ConfigError("this masker keeps nothing of any modality")
    if not any(bool(query.counts.any()) for mask in masks.values() for query in mask.queries):
        raise ConfigError("this masker predicts nothing that counts in the loss")
    return masker


def _named(section: Section) -> Masker:
    masker = build_component("maskers", section)
    if not isinstance(masker, Masker):
        raise ConfigError(f"{section['name']!r} masks several modalities together; write it into the section model.masker")
    return masker


def _combined(section: Section, operator: str) -> Masker:
    declared = OPERATORS[operator]
    keywords = {key: value for key, value in section.items() if key != operator}
    maskers = [masker_from_resolved(part) for part in declared.operand.to_build(section[operator], keywords)]
    return resolve(declared.target)(maskers, *declared.operand.wired(section[operator]), **keywords)


def _require_trainable(mask: Mask, grid: Grid) -> None:
    """Raise ConfigError for a mask that no model can be trained with."""
    if mask.num_keep == 0 or bool(mask.hidden.all()):
        raise ConfigError(f"this masker keeps nothing on the grid {grid}")
    if not any(query.ids.shape[1] for query in mask.queries):
        raise ConfigError(f"this masker predicts nothing on the grid {grid}")
    if not any(bool(query.counts.any()) for query in mask.queries):
        raise ConfigError(
            f"none of the patches that this masker predicts on the grid {grid} counts in the loss, so there is nothing to "
            "learn; the `counts` of its queries say which do"
        )
