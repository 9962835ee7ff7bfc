"""Targets of the published video systems."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from mae_core.interfaces import Seen, Target, TargetPlace
from mae_core.parts.patches import PatchTokenizer
from mae_core.parts.pixels import Pixels
from mae_registry import ConfigError

EPS = 1e-6


class ChannelPixels(Target):
    """The values of each patch, in 0..1, each channel normalised by its own mean and unbiased deviation (VideoMAE).

    Differs from `pixels` in that channels are normalised apart, and that 1e-6 is added to the deviation rather than to the
    variance. The loss is the mean squared error over the patches that count.
    """

    std: Tensor
    has_picture = True

    def __init__(self, place: TargetPlace) -> None:
        super().__init__()
        tokenizer = place.tokenizer
        if not isinstance(tokenizer, PatchTokenizer):
            raise ConfigError(f"the target 'channel_pixels' needs the tokenizer 'tubelets', not {type(tokenizer).__name__}")
        self.dim = tokenizer.patch_dim
        self._pixels = Pixels(place, normalize="none")
        self.register_buffer("std", tokenizer.std.flatten(), persistent=False)

    def prepare(self, seen: Seen) -> Tensor:
        """(B, N, P)."""
        values = self._by_channel(seen.patches)
        mean, deviation = self._statistics(values)
        return ((values - mean) / deviation).flatten(-2)

    def error(self, pred: Tensor, truth: Tensor) -> Tensor:
        """The mean square over a patch's values."""
        return self._pixels.error(pred, truth)

    @property
    def raw_differs(self) -> bool:
        """Normalised predictions can be drawn only with the true patches' mean and deviation."""
        return True

    def to_patches(self, pred: Tensor, patches: Tensor) -> Tensor:
        """Undo the normalisation with the true patches' statistics."""
        mean, deviation = self._statistics(self._by_channel(patches))
        return (self._by_channel(pred) * deviation + mean).flatten(-2)

    def raw_patches(self, pred: Tensor) -> Tensor:
        """The prediction as it is."""
        return pred

    def _by_channel(self, patches: Tensor) -> Tensor:
        """(..., pixels * channels) -> (..., pixels, channels)."""
        return patches.unflatten(-1, (-1, len(self.std)))

    def _statistics(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Of what the model takes; the mean over pixels, and the deviation as it is where values are in 0..1 (EPS is there)."""
        return values.mean(dim=-2, keepdim=True), values.std(dim=-2, keepdim=True) + EPS / self.std


class FramePixels(Target):
    """`pixels` of some frames only, spread evenly from the first to the last (MAE-ST: 8 of 16, one a tubelet).

    Args:
        num_frames: frames predicted; a multiple of the grid's times. MAE-ST's, of 16: 0, 2, 4, 6, 8, 10, 12, 15.
        normalize: "patch": what one patch shows of these frames is normalised by its own mean and variance; "none".

    The other frames of a patch are NaN in pictures: nothing is predicted of them.
    """

    offsets: Tensor
    has_picture = True

    def __init__(self, place: TargetPlace, *, num_frames: int, normalize: Literal["patch", "none"] = "patch") -> None:
        super().__init__()
        tokenizer = place.tokenizer
        total, num_times = tokenizer.sample_shape[1], tokenizer.grid["t"]
        if not 0 < num_frames <= total or num_frames % num_times:
            raise ConfigError(
                f"num_frames is {num_frames}; it must be a multiple of t={num_times}, at most the {total} frames of a clip"
            )
        self.patch_frames = total // num_times
        frames = torch.linspace(0, total - 1, num_frames).long().reshape(num_times, -1)
        offsets = frames - self.patch_frames * torch.arange(num_times)[:, None]
        # (1, N, U, 1): which of its frames each patch predicts
        per_patch = offsets.repeat_interleave(tokenizer.grid.num_patches // num_times, dim=0)[None, :, :, None]
        self.register_buffer("offsets", per_patch, persistent=False)
        self.dim = tokenizer.patch_dim // self.patch_frames * offsets.shape[1]
        self._pixels = Pixels(place, normalize=normalize)

    def prepare(self, seen: Seen) -> Tensor:
        """(B, N, T)."""
        return self._pixels.prepare(replace(seen, patches=self._select(seen.patches)))

    def error(self, pred: Tensor, truth: Tensor) -> Tensor:
        """The mean square over the predicted frames of a patch."""
        return self._pixels.error(pred, truth)

    @property
    def raw_differs(self) -> bool:
        """The same as in `pixels`."""
        return self._pixels.raw_differs

    def to_patches(self, pred: Tensor, patches: Tensor) -> Tensor:
        """(B, N, T), (B, N, P) -> (B, N, P), NaN in frames that are not predicted."""
        return self._spread(self._pixels.to_patches(pred, self._select(patches)))

    def raw_patches(self, pred: Tensor) -> Tensor:
        """(B, N, T) -> (B, N, P), NaN in frames that are not predicted."""
        return self._spread(self._pixels.raw_patches(pred))

    def _select(self, patches: Tensor) -> Tensor:
        """(B, N, P) -> (B, N, T): the predicted frames of each patch."""
        frames = patches.unflatten(-1, (self.patch_frames, -1))
        return frames.gather(2, self.offsets.expand(len(frames), -1, -1, frames.shape[-1])).flatten(-2)

    def _spread(self, selected: Tensor) -> Tensor:
        """(B, N, T) -> (B, N, P), the inverse."""
        frames = selected.unflatten(-1, (self.offsets.shape[2], -1))
        empty = frames.new_full((*frames.shape[:2], self.patch_frames, frames.shape[-1]), torch.nan)
        return empty.scatter(2, self.offsets.expand_as(frames), frames).flatten(-2)
