"""Images -> patches."""

from torch import nn

from mae_core.interfaces.numbers import Positive, PositiveFloat
from mae_core.parts.patches import PatchTokenizer

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ImagePatches(PatchTokenizer):
    """Images (B, C, H, W) -> patches on the grid h, w (ViT, Dosovitskiy et al. 2021).

    Args:
        input_size: height and width in pixels; the patch must divide it.
        patch_size: height and width of a patch in pixels.
        channels: of the images; 3 for RGB.
        mean, std: of each channel, in 0..1, taken off and divided by before the model. Default: ImageNet's, for RGB.
    """

    axes = ("h", "w")

    def __init__(
        self,
        width: int | None,
        *,
        input_size: tuple[Positive, Positive] = (224, 224),
        patch_size: tuple[Positive, Positive] = (16, 16),
        channels: Positive = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__(width, input_size=input_size, patch_size=patch_size, channels=channels, mean=mean, std=std)
        if self.proj is not None:
            nn.init.xavier_uniform_(self.proj.weight)  # as published: the convolution seen as a linear layer
