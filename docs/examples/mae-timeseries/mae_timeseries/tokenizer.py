"""Series <-> patches, and patches -> tokens."""

import torch
from einops import rearrange
from torch import Tensor, nn

from mae_core.interfaces import NO_EXTRAS, Extras, Grid, Tokenizer
from mae_core.interfaces.numbers import Positive, PositiveFloat
from mae_registry import ConfigError, MaeError


class TimeseriesPatches(Tokenizer):
    """Series (B, channels, length) -> patches of neighbouring values of one channel, on the grid channel x t.

    A patch does not mix channels: so one sensor can be hidden while the others are seen, and filled in from them.

    Args:
        length: of a sample, in values a channel; the patch must divide it.
        patch_length: values in a patch.
        channels: values measured at each time.
        mean, std: taken off, and divided by, before the model: one for each channel, or one for all of them. `mae statistics`
            measures them.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        width: int | None,
        *,
        length: Positive = 256,
        patch_length: Positive = 8,
        channels: Positive = 1,
        mean: tuple[float, ...] = (0.0,),
        std: tuple[PositiveFloat, ...] = (1.0,),
    ) -> None:
        super().__init__()
        if length % patch_length:
            raise ConfigError(f"patch_length {patch_length} does not divide length {length}")
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, channels):
                raise ConfigError(f"{name} has {len(values)} values; give 1, or one for each of the {channels} channels")
        self.grid = Grid(channel=channels, t=length // patch_length)
        self.patch_dim = patch_length
        self.sample_shape = (channels, length)
        self.projection = nn.Linear(patch_length, width) if width is not None else None
        self.register_buffer("mean", torch.tensor(mean).unsqueeze(1))  # (1 or channels, 1)
        self.register_buffer("std", torch.tensor(std).unsqueeze(1))

    def patchify(self, x: Tensor) -> Tensor:
        """(B, channels, length) -> (B, N, P), channel by channel. Raises MaeError on another shape."""
        if tuple(x.shape[1:]) != self.sample_shape:
            raise MaeError(
                f"samples have the shape {tuple(x.shape[1:])}; this model takes {self.sample_shape} (channels, length)"
            )
        return rearrange(x, "b channel (t p) -> b (channel t) p", p=self.patch_dim)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """(B, N, P) -> (B, channels, length), the inverse."""
        return rearrange(patches, "b (channel t) p -> b channel (t p)", channel=self.grid["channel"])

    def embed(self, patches: Tensor, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K, P) -> (B, K, D)."""
        assert self.projection is not None, "the encoder of this model embeds patches by itself"
        return self.projection(patches)

    def normalize(self, x: Tensor) -> Tensor:
        """Values as in the file -> mean 0 and standard deviation 1 in each channel."""
        return (x - self.mean) / self.std

    def denormalize(self, x: Tensor) -> Tensor:
        """The inverse."""
        return x * self.std + self.mean
