"""SatMAE's decoder: MAE's, with a head for each group of bands."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from mae_core.interfaces import DecoderPlace
from mae_core.parts.vit_decoder import ViTDecoder
from mae_methods.satmae.bands import GroupLinear, require_groups
from mae_registry import ConfigError

Positive = Annotated[int, Field(ge=1)]
Depth = Annotated[int, Field(ge=1, le=500)]


class GroupDecoder(ViTDecoder):
    """MAE's decoder, in which each group of bands has a head that predicts its bands only.

    Args:
        width, depth, heads: published: 512, 8, 16.
        mlp_ratio: hidden width of the MLPs, as a multiple of `width`.
    """

    head: GroupLinear

    def __init__(
        self,
        place: DecoderPlace,
        *,
        width: Positive,
        depth: Depth,
        heads: Positive,
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
    ) -> None:
        super().__init__(place, width=width, depth=depth, heads=heads, mlp_ratio=mlp_ratio)
        bands = require_groups(place.tokenizer, what="the decoder satmae_groups")
        if place.out_dim != bands.patch_dim:
            raise ConfigError(
                f"the decoder satmae_groups predicts the pixels of each band, and this target wants {place.out_dim} numbers a "
                f"patch where a patch has {bands.patch_dim}; use the target satmae_pixels"
            )
        self.num_places = bands.num_places
        sizes = [len(group) * bands.num_pixels for group in bands.groups]
        self.head = GroupLinear([width] * len(sizes), sizes)

    def predict(self, x: Tensor, ids: Tensor) -> Tensor:
        """(rows, M, W) -> (rows, M, T), zeros after the pixels of a group's bands."""
        return self.head(x, ids // self.num_places)
