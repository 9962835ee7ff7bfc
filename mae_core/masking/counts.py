"""How many patches a ratio hides. Published systems round differently, and by floating point."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from mae_core.interfaces import Grid
from mae_registry import ConfigError

Ratio = Annotated[float, Field(gt=0, lt=1, description="share of patches hidden")]
Truncate = Literal["kept", "hidden"]


def count_kept(num_patches: int, ratio: float, truncate: Truncate) -> int:
    """Patches kept of `num_patches` at `ratio`.

    "kept": int(N * (1 - ratio)), He et al. (2022), with its floating-point trap: of 400 patches at 0.9 it keeps 39, not 40.
    "hidden": N - int(N * ratio), VideoMAE.
    """
    return int(num_patches * (1 - ratio)) if truncate == "kept" else num_patches - int(num_patches * ratio)


def require_both(num_kept: int, num_patches: int, ratio: float, grid: Grid) -> None:
    """Raise ConfigError if nothing would be kept, or nothing predicted."""
    if 0 < num_kept < num_patches:
        return
    lacking = "keeps none" if num_kept == 0 else "hides none"
    raise ConfigError(
        f"ratio {ratio} {lacking} of the {num_patches} positions it chooses from on the grid {grid}; "
        f"{'lower' if num_kept == 0 else 'raise'} the ratio or use a finer grid"
    )


def with_count(hidden: Tensor, num_hidden: int, generator: torch.Generator) -> Tensor:
    """(B, N) bool -> the same with `num_hidden` True in every row: random patches are hidden, or shown, until that many are.

    A row that has the right count already is not changed.
    """
    assert 0 <= num_hidden <= hidden.shape[1], f"{num_hidden} of {hidden.shape[1]} patches"
    noise = torch.rand(hidden.shape, generator=generator)
    # noise is below 1, so that all hidden patches come before all others; stable, so that equal noise is no ambiguity
    order = torch.argsort(noise + hidden, dim=1, descending=True, stable=True)
    ranks = torch.argsort(order, dim=1)
    return ranks < num_hidden
