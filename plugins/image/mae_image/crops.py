"""Photographs of any size -> samples of one shape: the random crop of pre-training and the central one of evaluation."""

from random import Random
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from mae_core.data.boxes import Box, central_box, check_range, largest_box, random_box
from mae_registry import ConfigError

Interpolation = Literal["bicubic", "bilinear"]
AnyInterpolation = Interpolation | Literal["nearest-exact"]
"""Interpolations that also suit values that must not be mixed, such as labels."""
Crop = Literal["random_size", "fixed_size", "center"]
"""Crops of random size and place; of the size of the central crop at a random place; and the central crop itself."""

CROP_SHARE = 0.875
"""Side of the published evaluation crop over the side that the image is resized to (224 / 256), up to 224 pixels; above, 1."""
MAX_CROPPED = 224
MAX_STRIP = 8
"""How many times longer than its sample an image may be, relative to its width, before its ends are cut off."""


class Cut(NamedTuple):
    """What is cut out of an image, and whether it is flipped."""

    box: Box
    flip: bool
    size: tuple[int, int]
    """Height and width of the image that the box is of."""


class RandomCrop:
    """A crop and a random horizontal flip. One of random size is torchvision's random resized crop (10 tries, then the centre).

    `scale`: range of the area of a crop of random size, as a share of the image's; `ratio`: range of its width / height,
    log-uniform, relative to the sample's own (so that a sample that is not square is not distorted more than a square one);
    `flip`: probability. Everything random comes from the `random` of the call: equal ones cut files of equal size alike,
    whatever they hold and however large their samples are (of one shape).
    `single_try`: see `random_box`. `kind`: crops that are not of random size have the size of the central crop; `share`: see
    `center_crop`.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        scale: tuple[float, float],
        ratio: tuple[float, float],
        flip: float,
        interpolation: AnyInterpolation,
        single_try: bool = False,
        kind: Crop = "random_size",
        share: float | None = None,
    ) -> None:
        self.sample_shape = _checked_shape(sample_shape)
        check_range("crop_scale", scale, upper=1.0)
        check_range("crop_ratio", ratio)
        self.scale, self.ratio, self.flip, self.interpolation = scale, ratio, flip, InterpolationMode(interpolation)
        self.single_try = single_try
        self.kind: Crop = kind
        self.share = share

    def __call__(self, image: Tensor, *, random: Random) -> Tensor:
        """(3, H, W), or (1, H, W) for a sample of one channel -> `sample_shape`, of the same type."""
        return self.cut(image, self.draw(image.shape[1], image.shape[2], random=random))

    def draw(self, height: int, width: int, *, random: Random) -> Cut:
        """What to cut out of an image of `height` x `width` pixels."""
        box = self.draw_box(height, width, random=random)
        return Cut(box, random.random() < self.flip, (height, width))

    def cut(self, image: Tensor, cut: Cut) -> Tensor:
        """The same part of an image that may have been decoded to a smaller size than `cut` was drawn for."""
        box = cut.box if image.shape[1:] == cut.size else _scaled(cut, image.shape[1], image.shape[2])
        channels, height, width = self.sample_shape
        crop = _resize(box.cut(image), (height, width), self.interpolation)
        return _with_channels(crop.flip(2) if cut.flip else crop, channels)

    def divisor(self, cut: Cut) -> int:
        """By how much the sides of the image may be divided, 1, 2, 4 or 8, so that the part is still not enlarged more."""
        _, height, width = self.sample_shape
        return next(by for by in (8, 4, 2, 1) if by == 1 or (cut.box.height >= by * height and cut.box.width >= by * width))

    def draw_box(self, height: int, width: int, *, random: Random) -> Box:
        """Where to crop an image of `height` x `width` pixels."""
        _, sample_height, sample_width = self.sample_shape
        if self.kind != "random_size":
            return self._fixed_box(height, width, random)
        aspect = sample_width / sample_height
        return random_box(
            height, width, scale=self.scale, ratio=self.ratio, aspect=aspect, random=random, single_try=self.single_try
        )

    def _fixed_box(self, height: int, width: int, random: Random) -> Box:
        """A box of the size of the central crop."""
        largest = largest_box(height, width, like=self.sample_shape[1:])
        share = _central_share(self.sample_shape, self.share)
        box_height, box_width = (max(1, round(share * side)) for side in (largest.height, largest.width))
        if self.kind == "center":
            return central_box(height, width, box_height, box_width)
        return Box(random.randint(0, height - box_height), random.randint(0, width - box_width), box_height, box_width)


def center_crop(
    image: Tensor,
    sample_shape: tuple[int, ...],
    *,
    share: float | None = None,
    interpolation: AnyInterpolation = "bicubic",
) -> Tensor:
    """(3, H, W), or (1, H, W) for one channel -> `sample_shape`, the published evaluation rule (resize to 256, crop 224).

    The image is resized (antialiased, proportions kept) to just cover the sample's height and width divided by `share`, and its
    centre cut out. Without `share` that is 0.875, and 1 for samples of more than 224 pixels, as published. Raises ConfigError
    for other than 1 or 3 channels.
    """
    channels, height, width = _checked_shape(sample_shape)
    share = _central_share(sample_shape, share)
    cover_height, cover_width = int(height / share), int(width / share)
    # resized whole, a strip of 1 x 65,000 pixels would take gigabytes
    old_height = min(image.shape[1], max(1, MAX_STRIP * image.shape[2] * cover_height // cover_width))
    old_width = min(image.shape[2], max(1, MAX_STRIP * image.shape[1] * cover_width // cover_height))
    image = F.center_crop(image, [old_height, old_width])
    if cover_height * old_width >= cover_width * old_height:
        size = cover_height, cover_height * old_width // old_height
    else:
        size = cover_width * old_height // old_width, cover_width
    resized = _resize(image, size, InterpolationMode(interpolation))
    return _with_channels(F.center_crop(resized, [height, width]), channels)


def _scaled(cut: Cut, height: int, width: int) -> Box:
    """The box of a cut in the same image of another size."""
    tall, wide = height / cut.size[0], width / cut.size[1]
    top, left = min(round(cut.box.top * tall), height - 1), min(round(cut.box.left * wide), width - 1)
    box_height, box_width = max(1, round(cut.box.height * tall)), max(1, round(cut.box.width * wide))
    return Box(top, left, min(box_height, height - top), min(box_width, width - left))


def _central_share(sample_shape: tuple[int, ...], share: float | None) -> float:
    """See `center_crop`."""
    return usual_share(*sample_shape[1:]) if share is None else share


def usual_share(height: int, width: int) -> float:
    """The published share of the evaluation crop, for a photograph as a sample of this size."""
    return CROP_SHARE if max(height, width) <= MAX_CROPPED else 1.0


def _resize(image: Tensor, size: tuple[int, int], interpolation: InterpolationMode) -> Tensor:
    # decoders give channels last; a contiguous copy in that order is resized a third faster than a view of the image
    batch = image[None].contiguous(memory_format=torch.channels_last)
    return F.resize(batch, list(size), interpolation=interpolation, antialias=True)[0]


def _with_channels(image: Tensor, channels: int) -> Tensor:
    if channels < image.shape[0]:  # luminance (ITU-R 601); rounded, so that a grey image keeps its values
        weights = torch.tensor([0.299, 0.587, 0.114])
        image = torch.tensordot(weights, image.float(), dims=1).round().to(torch.uint8)[None]
    return image.contiguous()


def _checked_shape(sample_shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(sample_shape) != 3:
        raise ConfigError(
            f"the tokenizer takes samples of shape {sample_shape}, which this dataset cannot give: "
            "name the dataset and the tokenizer of one modality"
        )
    channels, height, width = sample_shape
    if channels not in (1, 3):
        raise ConfigError(
            f"the tokenizer takes {channels} channels; photographs give 3 (RGB) or 1 (luminance): "
            "set model.modalities.image.tokenizer.channels to one of these"
        )
    return channels, height, width
