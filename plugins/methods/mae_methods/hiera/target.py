"""The pixels that Hiera predicts, in the order of its release."""

from dataclasses import replace
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from mae_core.interfaces import Seen, Target, TargetPlace
from mae_core.parts.pixels import Pixels
from mae_registry import ConfigError


class HieraPixels(Target):
    """`pixels` in another order, and of a part of each patch only where `first_of` says so.

    Args:
        channels: whether a patch's values are ordered by channel first (images) or by channel last (videos).
        first_of: an axis of the grid along which only the first place of each patch is predicted: for videos `t`, so that its
            first frame stands for each patch. The other places are NaN in pictures.
        normalize: "patch": what is predicted of a patch is normalised by its own mean and unbiased variance; "none".
    """

    has_picture = True

    def __init__(
        self,
        place: TargetPlace,
        *,
        channels: Literal["first", "last"] = "first",
        first_of: str | None = None,
        normalize: Literal["patch", "none"] = "patch",
    ) -> None:
        super().__init__()
        tokenizer, grid = place.tokenizer, place.tokenizer.grid
        if first_of is not None and first_of not in grid.axes:
            raise ConfigError(f"first_of is {first_of!r}; the grid has the axes {', '.join(grid.axes)}")
        self._patchify, self._unpatchify = tokenizer.patchify, tokenizer.unpatchify
        self.sample_shape = tokenizer.sample_shape
        sides = [size // grid[axis] for axis, size in zip(grid.axes, self.sample_shape[1:], strict=True)]
        steps = [side if axis == first_of else 1 for axis, side in zip(grid.axes, sides, strict=True)]
        self._predicted = (slice(None), slice(None), *(slice(None, None, step) for step in steps))
        self._sizes = {f"p{i}": side // step for i, (side, step) in enumerate(zip(sides, steps, strict=True))}
        self._sizes |= {axis: grid[axis] for axis in grid.axes} | {"c": self.sample_shape[0]}
        within = " ".join(f"p{i}" for i in range(len(sides)))
        self._values = f"b ({' '.join(grid.axes)}) ({f'c {within}' if channels == 'first' else f'{within} c'})"
        self._sample = f"b c {' '.join(f'({axis} p{i})' for i, axis in enumerate(grid.axes))}"
        self.dim = tokenizer.patch_dim
        for step in steps:
            self.dim //= step
        self._pixels = Pixels(place, normalize=normalize)

    def prepare(self, seen: Seen) -> Tensor:
        """(B, N, T)."""
        return self._pixels.prepare(replace(seen, patches=self._select(seen.x)))

    def error(self, pred: Tensor, truth: Tensor) -> Tensor:
        """The mean square over what is predicted of a patch."""
        return self._pixels.error(pred, truth)

    @property
    def raw_differs(self) -> bool:
        """The same as in `pixels`."""
        return self._pixels.raw_differs

    def to_patches(self, pred: Tensor, patches: Tensor) -> Tensor:
        """(B, N, T), (B, N, P) -> (B, N, P), NaN where nothing is predicted."""
        return self._spread(self._pixels.to_patches(pred, self._select(self._unpatchify(patches))))

    def raw_patches(self, pred: Tensor) -> Tensor:
        """(B, N, T) -> (B, N, P), NaN where nothing is predicted."""
        return self._spread(self._pixels.raw_patches(pred))

    def _select(self, x: Tensor) -> Tensor:
        """(B, *sample_shape) -> (B, N, T)."""
        return rearrange(x[self._predicted], f"{self._sample} -> {self._values}", **self._sizes)

    def _spread(self, values: Tensor) -> Tensor:
        """(B, N, T) -> (B, N, P), the inverse."""
        x = values.new_full((len(values), *self.sample_shape), torch.nan)
        x[self._predicted] = rearrange(values, f"{self._values} -> {self._sample}", **self._sizes)
        return self._patchify(x)
