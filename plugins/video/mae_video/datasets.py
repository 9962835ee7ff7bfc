"""Videos to train on: the files of a folder."""

from random import Random

import torch
from torch import Tensor

from mae_core.data.boxes import check_range, random_box
from mae_core.data.folders import FileFolder
from mae_core.data.rand_augment import RandAugment
from mae_core.interfaces import Sample, as_sample
from mae_core.interfaces.numbers import Positive, PositiveFloat, PositiveRange, Probability, Share, ShareRange
from mae_registry import ConfigError
from mae_video.clips import CENTER, ClipSampler, checked_shape
from mae_video.crops import center_crop, crop, multi_scale_box, side_crop
from mae_video.modality import VIDEO
from mae_video.reading import Reader, find_reader, open_video

FILL = (128, 128, 128)
"""What RandAugment lays where it moved a frame away: timm's own."""
MULTI_SCALE = (1.0, 0.875, 0.75, 0.66)


class VideoFolder(FileFolder):
    """The video files of a folder and of the folders in it; see `FileFolder`.

    Args:
        root: the folder, or where shards or Parquet files are.
        labels, split, balanced, extras, in_memory, cache: see `FileFolder`.
        stride, fps: which frames make a clip: every `stride`-th, or with `fps` those that far apart in time at that rate;
            see `clips.ClipSampler`. The clip's place in the file is drawn.
        num_views: crops of each decoded clip, each a sample with a mask of its own.
        multi_scale: sides of the crop, as shares of the largest one (VideoMAE), or
        crop_scale, crop_ratio: range of the crop's area, and of its width / height (MAE-ST; set multi_scale to null).
        flip: probability of a horizontal flip.
        auto_augment: a RandAugment in timm's words, such as rand-m7-n4-mstd0.5-inc1, after crop and flip, alike for all frames.
        test_clips, test_crops: what each file is measured on: clips spread evenly over its time, and crops over the longer side
            of each. Published: 5 and 3 (Kinetics), 2 and 3 (Something-Something).
        reader: what decodes; "auto": PyAV, or where it is not installed decord, or torchcodec. "torchcodec_gpu" decodes on a
            GPU, in the process that trains, and needs train.num_workers=0.
    """

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        *,
        root: str | None = None,
        labels: str | None = None,
        split: str | None = None,
        balanced: Positive | None = None,
        extras: tuple[str, ...] | None = None,
        in_memory: bool = False,
        cache: str | None = None,
        stride: Positive = 4,
        fps: PositiveFloat | None = None,
        num_views: Positive = 1,
        multi_scale: tuple[Share, ...] | None = MULTI_SCALE,
        crop_scale: ShareRange | None = None,
        crop_ratio: PositiveRange = (3 / 4, 4 / 3),
        flip: Probability = 0.0,
        auto_augment: str | None = None,
        test_clips: Positive = 1,
        test_crops: Positive = 1,
        reader: Reader = "auto",
    ) -> None:
        self._shape = checked_shape(sample_shape)
        if (multi_scale is None) == (crop_scale is None):
            raise ConfigError("data.video: give multi_scale, or crop_scale, and set the other to null")
        check_range("crop_ratio", crop_ratio)
        if crop_scale is not None:
            check_range("crop_scale", crop_scale, upper=1.0)
        self.num_views, self.num_test_views = num_views, test_clips * test_crops
        self._test_clips, self._test_crops = test_clips, test_crops
        self._rand_augment = None if auto_augment is None else RandAugment(auto_augment, size=self._shape[2:], fill=FILL)
        self._sampler = ClipSampler(self._shape[1], stride, fps)
        self._multi_scale, self._crop_scale, self._crop_ratio, self._flip = multi_scale, crop_scale, crop_ratio, flip
        find_reader(reader)  # before a worker needs it
        self._reader: Reader = reader
        super().__init__(
            root,
            modality=VIDEO,
            what="videos",
            labels=labels,
            split=split,
            balanced=balanced,
            extras=extras,
            in_memory=in_memory,
            cache=cache,
        )

    def load(self, index: int, *, random: Random) -> Tensor | Sample:
        """(C, T, H, W) uint8, or (num_views, C, T, H, W): crops of one clip. Decodes no frame outside the clip's span."""
        with open_video(self.file(index), self._reader) as video:
            frames = self._sampler.read(video, random.random())
        if self.num_views == 1:
            return self.labelled(self._augment(frames, random), index)
        views = torch.stack([self._augment(frames, random) for _ in range(self.num_views)])
        return self.labelled(views, index, num_views=self.num_views)

    def read(self, index: int) -> Tensor | Sample:
        """The middle of one file, its central crop, (C, T, H, W) uint8. Raises BadSample."""
        with open_video(self.file(index), self._reader) as video:
            frames = self._sampler.read(video, CENTER)
        return self.labelled(center_crop(frames, self._shape), index)

    def read_views(self, index: int) -> Sample:
        """(test_clips * test_crops, C, T, H, W) uint8, clip after clip. Raises BadSample."""
        with open_video(self.file(index), self._reader) as video:
            clips = [self._sampler.read(video, start) for start in places(self._test_clips)]
        views = [side_crop(frames, self._shape, place) for frames in clips for place in places(self._test_crops)]
        return as_sample(self.labelled(torch.stack(views), index, num_views=len(views)))

    def _augment(self, frames: Tensor, random: Random) -> Tensor:
        height, width = frames.shape[2:]
        if self._multi_scale is not None:
            box = multi_scale_box(height, width, self._shape, self._multi_scale, random)
        else:
            assert self._crop_scale is not None
            aspect = self._shape[3] / self._shape[2]
            box = random_box(height, width, scale=self._crop_scale, ratio=self._crop_ratio, aspect=aspect, random=random)
        # the published pipelines: Pillow's resize, which averages, in VideoMAE; plain interpolation in MAE-ST
        sample = crop(frames, box, self._shape, antialias=self._multi_scale is not None)
        sample = sample.flip(3) if random.random() < self._flip else sample
        if self._rand_augment is None:
            return sample
        return self._rand_augment(sample.transpose(0, 1), random=random).transpose(0, 1).contiguous()


def places(number: int) -> list[float]:
    """Places from 0 to 1, evenly spaced, the ends included; one alone is in the middle."""
    return [CENTER] if number == 1 else [place / (number - 1) for place in range(number)]
