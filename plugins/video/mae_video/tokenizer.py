"""Clips -> tubelets."""

from typing import Literal

from torch import nn

from mae_core.interfaces.numbers import Positive, PositiveFloat
from mae_core.parts.patches import PatchTokenizer

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Tubelets(PatchTokenizer):
    """Clips (B, C, T, H, W) -> patches of a few frames each, on the grid t, h, w (ViViT, Arnab et al. 2021).

    Args:
        input_size: frames, height and width in pixels; the patch must divide it.
        patch_size: frames, height and width of a patch.
        channels: of the frames; 3 for RGB.
        mean, std: of each channel, in 0..1, taken off and divided by before the model. Default: ImageNet's, as VideoMAE.
        init: of the projection's weight: "torch", a convolution's own (VideoMAE), or "xavier", uniform (MAE-ST).
    """

    axes = ("t", "h", "w")

    def __init__(
        self,
        width: int | None,
        *,
        input_size: tuple[Positive, Positive, Positive] = (16, 224, 224),
        patch_size: tuple[Positive, Positive, Positive] = (2, 16, 16),
        channels: Positive = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[PositiveFloat, ...] = IMAGENET_STD,
        init: Literal["torch", "xavier"] = "torch",
    ) -> None:
        super().__init__(width, input_size=input_size, patch_size=patch_size, channels=channels, mean=mean, std=std)
        if self.proj is not None and init == "xavier":
            nn.init.xavier_uniform_(self.proj.weight)
