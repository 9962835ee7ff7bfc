"""Maps of features at several strides, from the layers of a pre-trained encoder: what detectors and segmenters stand on."""

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.model.backbone import Backbone
from mae_core.parts.blocks import LayerNorm
from mae_registry import MaeError


class FeaturePyramid(nn.Module):
    """Samples (B, *sample_shape) of one modality -> maps (B, out_channels, H / stride, W / stride), by "0", "1", ...

    The outputs after each quarter of the encoder are resized to the strides: by transposed convolutions, each of which doubles
    the resolution, or by max pooling (He et al. 2022, A.3). A 1 x 1 and a 3 x 3 convolution, each with a norm over the
    channels, then give all maps the same width. The finest stride belongs to the earliest layer. The stages of a hierarchical
    encoder, which have strides of their own, are resized as far as they have to be.

    It is a backbone as torchvision's detectors take it: it has `out_channels`, and returns an ordered dictionary.

    Args:
        backbone: is a part of this module, and learns with it.
        entry: the modality, where the backbone has several. Its samples have two axes in space, or in time and frequency.
        out_channels: of all maps.
        strides: sides of the square that one place of a map stands for, in the values of a sample.
        layers: one for each stride, the finest first; without them `Backbone.quarters`.

    Raises MaeError for strides that the encoder's own do not lead to by doubling or halving.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        entry: str | None = None,
        out_channels: int = 256,
        strides: Sequence[int] = (4, 8, 16, 32),
        layers: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.out_channels = backbone, out_channels
        self.entry = next(iter(backbone.inputs)) if entry is None else entry
        self.layers = list(backbone.quarters if layers is None else layers)
        if len(self.layers) != len(strides):
            raise MaeError(f"there are {len(strides)} strides for the {len(self.layers)} layers {self.layers}; give one each")
        found = self._look()
        self.levels = nn.ModuleList(
            nn.Sequential(*_resampled(width, own / stride), *_smoothed(_width_after(width, own / stride), out_channels))
            for (width, own), stride in zip(found, strides, strict=True)
        )

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Normalised samples of any size that the patches and the coarsest stride divide -> their maps, the finest first."""
        maps = self.backbone.features({self.entry: x}, layers=self.layers)
        return OrderedDict((str(number), level(maps[number])) for number, level in enumerate(self.levels))

    def _look(self) -> list[tuple[int, int]]:
        """The width and the stride of each layer's map, which depend on the encoder: of an empty sample."""
        shape = self.backbone.input(self.entry).tokenizer.sample_shape
        like = next(self.backbone.parameters())
        with torch.no_grad():
            maps = self.backbone.features({self.entry: like.new_zeros(1, *shape)}, layers=self.layers)
        found: list[tuple[int, int]] = []
        for features in maps:
            sides = {length // size for length, size in zip(shape[-(features.ndim - 2) :], features.shape[2:], strict=True)}
            if features.ndim != 4 or len(sides) > 1:
                raise MaeError(
                    f"a pyramid is made of square places on two axes; a layer of {self.entry!r} has {features.ndim - 2}"
                )
            found.append((features.shape[1], sides.pop()))
        return found


class ChannelNorm(LayerNorm):
    """A layer norm over the channels of each place of a map (B, D, H, W)."""

    def forward(self, input: Tensor) -> Tensor:  # named as torch names it
        """(B, D, H, W) -> (B, D, H, W)."""
        x = input.permute(0, 2, 3, 1)
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


def _resampled(width: int, times: float) -> list[nn.Module]:
    """Make a map so many times finer, halving its width each time; or coarser. Raises MaeError for what is no power of two."""
    steps = round(math.log2(times))
    if 2.0**steps != times:
        raise MaeError(
            f"a stride must be the encoder's own, doubled or halved some times; this one would be {times:g} times finer"
        )
    if steps < 0:
        return [nn.MaxPool2d(2**-steps)]
    modules: list[nn.Module] = []
    for step in range(steps):
        if step:
            modules += [ChannelNorm(width), nn.GELU()]
        modules.append(nn.ConvTranspose2d(width, width // 2, 2, stride=2))
        width //= 2
    return modules


def _width_after(width: int, times: float) -> int:
    return width // max(1, int(times))


def _smoothed(width: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(width, out_channels, 1, bias=False),
        ChannelNorm(out_channels),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        ChannelNorm(out_channels),
    ]
