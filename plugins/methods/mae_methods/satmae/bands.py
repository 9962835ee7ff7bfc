"""Images of several spectral bands -> a patch of each group of bands at each place."""

from collections.abc import Sequence
from typing import Annotated

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from mae_core.interfaces import NO_EXTRAS, Extras, Grid, Tokenizer
from mae_image.tokenizer import ImagePatches
from mae_registry import ConfigError

Side = Annotated[int, Field(ge=1)]
Band = Annotated[int, Field(ge=0)]
Group = Annotated[tuple[Band, ...], Field(min_length=1)]

GROUPS = ((0, 1, 2, 6), (3, 4, 5, 7), (8, 9))
"""The published groups of Sentinel-2's ten bands: blue, green, red and near infrared; the red edge; short wave."""


class GroupedBands(Tokenizer):
    """Images (B, C, H, W) -> patches on the grid g, h, w: one of each group of bands at each place (SatMAE, section 3.2).

    A patch holds its group's bands one after the other, (c p q). Groups of fewer bands than the largest end in zeros, which are
    neither embedded nor predicted.

    Args:
        input_size: height and width in pixels; the patch must divide it.
        patch_size: height and width of a patch in pixels.
        groups: numbers of the bands of each group. Every band is in one of them.
        mean, std: of each band, in 0..1, taken off and divided by before the model. Default: the values stay in 0..1, as
            published.
    """

    def __init__(
        self,
        width: int | None,
        *,
        input_size: tuple[Side, Side] = (96, 96),
        patch_size: tuple[Side, Side] = (8, 8),
        groups: tuple[Group, ...] = GROUPS,
        mean: tuple[float, ...] | None = None,
        std: tuple[Annotated[float, Field(gt=0)], ...] | None = None,
    ) -> None:
        super().__init__()
        _require_partition(groups)
        num_bands = sum(len(group) for group in groups)
        mean, std = mean or (0.0,) * num_bands, std or (1.0,) * num_bands
        self.images = ImagePatches(None, input_size=input_size, patch_size=patch_size, channels=num_bands, mean=mean, std=std)
        self.groups = groups
        self.num_places = self.images.grid.num_patches
        self.patch_sides = patch_size
        self.num_pixels = patch_size[0] * patch_size[1]
        self.max_bands = max(len(group) for group in groups)
        self.grid = Grid(g=len(groups), h=self.images.grid["h"], w=self.images.grid["w"])
        self.patch_dim = self.max_bands * self.num_pixels
        self.sample_shape = self.images.sample_shape
        self.proj = None
        if width is not None:
            self.proj = GroupLinear([len(group) * self.num_pixels for group in groups], [width] * len(groups))

    def patchify(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, P), group by group."""
        bands = rearrange(self.images.patchify(x), "b l (s c) -> b l c s", c=x.shape[1])
        patches = bands.new_zeros(len(x), len(self.groups), self.num_places, self.max_bands, self.num_pixels)
        for number, group in enumerate(self.groups):
            patches[:, number, :, : len(group)] = bands[:, :, group]
        return rearrange(patches, "b g l m s -> b (g l) (m s)")

    def unpatchify(self, patches: Tensor) -> Tensor:
        """(B, N, P) -> (B, C, H, W)."""
        slots = rearrange(patches, "b (g l) (m s) -> b l s (g m)", g=len(self.groups), m=self.max_bands)
        where = [slot for _, slot in sorted(zip(self.bands_in_order(), self.slots(), strict=True))]
        return self.images.unpatchify(rearrange(slots[..., where], "b l s c -> b l (s c)"))

    def embed(self, patches: Tensor, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K, P) -> (B, K, D), each patch by its group's projection."""
        assert self.proj is not None, "the encoder of this model embeds patches by itself"
        return self.proj(patches, ids // self.num_places)

    def normalize(self, x: Tensor) -> Tensor:
        """Bytes, or floats in 0..1 -> the floats that the model takes."""
        return self.images.normalize(x)

    def denormalize(self, x: Tensor) -> Tensor:
        """The inverse, as floats in 0..1."""
        return self.images.denormalize(x)

    def bands_in_order(self) -> list[int]:
        """Numbers of all bands, one group after the other."""
        return [band for group in self.groups for band in group]

    def slots(self) -> list[int]:
        """Where each of `bands_in_order` lies among the groups' places for bands, of which each has as many as the largest."""
        return [number * self.max_bands + place for number, group in enumerate(self.groups) for place in range(len(group))]


class GroupLinear(nn.ModuleList):
    """One linear map for each group. What is shorter than the longest ends in values that are not read, and in zeros.

    Every map is computed of all patches, and each patch takes its own group's: which patches these are would otherwise decide
    sizes, for which a GPU has to wait and which do not compile. In a ViT-L that is 0.3 % of a step's work.

    Weights are Xavier-uniform, each group's on its own, as published.
    """

    def __init__(self, sizes_in: Sequence[int], sizes_out: Sequence[int]) -> None:
        super().__init__(nn.Linear(number, width) for number, width in zip(sizes_in, sizes_out, strict=True))
        self.size_out = max(sizes_out)
        for linear in self.linears():
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def linears(self) -> list[nn.Linear]:
        """The map of each group."""
        return [linear for linear in self if isinstance(linear, nn.Linear)]

    def forward(self, x: Tensor, groups: Tensor) -> Tensor:
        """(rows, K, size) and the group of each, (rows, K) -> (rows, K, size_out)."""
        first, *others = (self._map(linear, x) for linear in self.linears())
        for number, mapped in enumerate(others, start=1):
            first = torch.where((groups == number).unsqueeze(-1), mapped, first)
        return first

    def _map(self, linear: nn.Linear, x: Tensor) -> Tensor:
        """Of the values that this group has, with zeros for those that it has not."""
        return nn.functional.pad(linear(x[..., : linear.in_features]), (0, self.size_out - linear.out_features))


def require_groups(tokenizer: Tokenizer, *, what: str) -> GroupedBands:
    """The tokenizer, as one of groups. Raises ConfigError for another."""
    if not isinstance(tokenizer, GroupedBands):
        raise ConfigError(f"{what} is for groups of bands; it needs the tokenizer satmae_bands, not {type(tokenizer).__name__}")
    return tokenizer


def _require_partition(groups: tuple[Group, ...]) -> None:
    found = sorted(band for group in groups for band in group)
    if not found or found != list(range(len(found))):
        raise ConfigError(
            f"groups is {[list(group) for group in groups]}; every band from 0 on must be in exactly one group, "
            "without a gap: leave bands out where the data are read"
        )
