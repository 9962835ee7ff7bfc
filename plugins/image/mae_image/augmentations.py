"""What photographs go through before they are samples: at random for training, always alike for evaluation."""

from collections.abc import Callable
from random import Random

from torch import Tensor

from mae_core.data.rand_augment import RandAugment
from mae_image.colors import jitter_color
from mae_image.crops import AnyInterpolation, Crop, Cut, RandomCrop, center_crop
from mae_image.reading import Scale
from mae_registry import ConfigError

FILL = (124, 116, 104)
"""The mean colour of ImageNet."""


class Augmentations:
    """Crop and flip, then changes of colour, then RandAugment, in the published order; or the central crop.

    Args:
        crop, crop_scale, crop_ratio, flip, interpolation, single_try: of the crop for training; see `RandomCrop`.
        color_jitter: see `jitter_color`.
        auto_augment: timm's name of a RandAugment; null: none.
        crop_share: side of the central crop over the side that the photograph is resized to; null: see `center_crop`.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        crop: Crop,
        crop_scale: tuple[float, float],
        crop_ratio: tuple[float, float],
        flip: float,
        interpolation: AnyInterpolation,
        color_jitter: float,
        single_try: bool,
        auto_augment: str | None,
        crop_share: float | None,
    ) -> None:
        self._crop = RandomCrop(
            sample_shape,
            kind=crop,
            scale=crop_scale,
            ratio=crop_ratio,
            flip=flip,
            interpolation=interpolation,
            single_try=single_try,
            share=crop_share,
        )
        self._share = crop_share
        self._color_jitter = color_jitter
        self._augment = None
        if auto_augment is not None:
            channels, height, width = self._crop.sample_shape
            if channels != 3:
                raise ConfigError(f"auto_augment changes colours, but the tokenizer takes {channels} channel; set it to null")
            self._augment = RandAugment(auto_augment, size=(height, width), fill=FILL)

    def load(self, read: Callable[[Scale], Tensor], *, random: Random) -> Tensor:
        """As `augmented`, of what `read` gives; it may ask once by how much the sides of the image may be divided."""
        cuts: list[Cut] = []

        def scale(height: int, width: int) -> int:
            cuts.append(self._crop.draw(height, width, random=random))
            return self._crop.divisor(cuts[0])

        image = read(scale)
        cut = cuts[0] if cuts else self._crop.draw(*image.shape[1:], random=random)
        return self._colored(self._crop.cut(image, cut), random)

    def augmented(self, image: Tensor, *, random: Random) -> Tensor:
        """(3, H, W) uint8 -> the sample's shape, for training."""
        return self._colored(self._crop(image, random=random), random)

    def _colored(self, crop: Tensor, random: Random) -> Tensor:
        crop = jitter_color(crop, self._color_jitter, random=random)
        return crop if self._augment is None else self._augment(crop, random=random)

    def central(self, image: Tensor) -> Tensor:
        """(3, H, W) uint8 -> the sample's shape, for evaluation."""
        return center_crop(image, self._crop.sample_shape, share=self._share)
