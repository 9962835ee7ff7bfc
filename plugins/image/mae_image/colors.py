"""Random changes of colour."""

from collections.abc import Callable
from random import Random
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torchvision.transforms.v2 import functional as F

Strength = Annotated[float, Field(ge=0, lt=1)]
"""A change as a share of what is changed."""
ADJUST: tuple[Callable[[Tensor, float], Tensor], ...] = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)


def jitter_color(image: Tensor, strength: float, *, random: Random) -> Tensor:
    """(3, H, W) or (1, H, W) uint8: brightness, contrast and saturation are changed one after the other, in random order.

    Each is multiplied by a uniform factor between 1 - `strength` and 1 + `strength`, as torchvision documents its ColorJitter.
    With a strength of 0 nothing is drawn from `random`.
    """
    if not strength:
        return image
    for adjust in random.sample(ADJUST, len(ADJUST)):
        image = adjust(image, random.uniform(1 - strength, 1 + strength))
    return image
