"""data2vec 2.0's decoder (Baevski et al. 2023, section 3.2): convolutions over the grid, noise where patches are hidden."""

import itertools
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.interfaces import Decoder, DecoderPlace, Extras, Latent, gather_patches
from mae_core.interfaces.numbers import Depth, Positive, PositiveFloat
from mae_registry import ConfigError

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
"""The convolution for a grid, by the number of its axes."""


class ChannelNorm(nn.Module):
    """Normalises the channels at each place of a grid, without weights, with epsilon 1e-5."""

    def forward(self, x: Tensor) -> Tensor:
        """(rows, C, *grid), and the same back."""
        return F.layer_norm(x.movedim(1, -1), [x.shape[1]]).movedim(-1, 1)


class ConvolutionBlock(nn.Sequential):
    """A convolution that keeps the grid's size, the norm, and GELU; its input is added where it has as many channels."""

    def __init__(self, convolution: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> None:
        super().__init__(convolution, ChannelNorm(), nn.GELU())
        self.adds_input = convolution.in_channels == convolution.out_channels

    def forward(self, input: Tensor) -> Tensor:
        """(rows, C, *grid) -> (rows, C', *grid)."""
        output = super().forward(input)
        return input + output if self.adds_input else output


class Data2VecDecoder(Decoder):
    """Grouped convolutions over the latents, laid out as the grid, with normal noise in place of those of hidden patches.

    There is no mask token and there are no positions: a convolution knows where what is visible lies. Noise is drawn anew at
    each step of a training; in evaluation mode it is the same each time, and for all samples.

    Args:
        width, depth, kernel, groups: channels, number, odd side, and groups of channels of the convolutions. A convolution that
            keeps the number of channels adds its input to its output.
        noise: standard deviation of the noise.
    """

    noise: Tensor

    def __init__(
        self,
        place: DecoderPlace,
        *,
        width: Positive,
        depth: Depth = 6,
        kernel: Positive = 3,
        groups: Positive = 16,
        noise: PositiveFloat = 0.01,
    ) -> None:
        super().__init__()
        grid, widths = place.grid, [place.context_width, *[width] * depth]
        _require_fitting(len(grid.sizes), kernel=kernel, groups=groups, widths=widths)
        self.entry, self.sizes, self.noise_std = place.entry, grid.sizes, noise
        convolution = CONVOLUTIONS[len(grid.sizes)]
        self.blocks = nn.ModuleList(
            ConvolutionBlock(convolution(before, after, kernel, padding=kernel // 2, groups=groups))
            for before, after in itertools.pairwise(widths)
        )
        self.proj = nn.Linear(width, place.out_dim)
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(1, grid.num_patches, place.context_width, generator=generator, device="cpu")
        self.register_buffer("noise", noise * drawn, persistent=False)

    def forward(self, latent: Latent, ids: Tensor, *, extras: Mapping[str, Extras], everything: bool = False) -> Tensor:
        """The latent of all modalities, (rows, M) -> (rows, M, T); with `everything` (rows, N, T) in raster order."""
        latent = latent.of(self.entry)
        places = latent.ids.unsqueeze(-1).expand_as(latent.tokens)
        x = self._noise(latent.tokens).scatter(1, places, latent.tokens)
        x = x.transpose(1, 2).unflatten(-1, self.sizes)
        for block in self.blocks:
            x = block(x)
        x = x.flatten(2).transpose(1, 2)
        return self.proj(x if everything else gather_patches(x, ids))

    def _noise(self, tokens: Tensor) -> Tensor:
        """(rows, N, D), for tokens (rows, K, D)."""
        if self.training:
            return self.noise_std * torch.randn(len(tokens), *self.noise.shape[1:], device=tokens.device, dtype=tokens.dtype)
        return self.noise.to(tokens.dtype).expand(len(tokens), -1, -1)


def _require_fitting(num_axes: int, *, kernel: int, groups: int, widths: list[int]) -> None:
    """Raise ConfigError for convolutions that cannot be made."""
    if num_axes not in CONVOLUTIONS:
        raise ConfigError(f"convolutions are over grids of 1 to 3 axes, and this one has {num_axes}")
    if kernel % 2 == 0:
        raise ConfigError(f"kernel is {kernel}; the side of a convolution that keeps the grid's size is odd")
    if wrong := sorted({width for width in widths if width % groups}):
        raise ConfigError(f"groups is {groups}, which does not divide {wrong[0]}, the channels of the latents or of `width`")
