"""What comes with a photograph in MultiMAE (Bachmann et al. 2022): depth, and a class label for every pixel."""

from typing import Annotated

import torch.nn.functional as F
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from mae_core.interfaces import NO_EXTRAS, Extras, Grid, Seen, Target, TargetPlace, Tokenizer
from mae_core.interfaces.numbers import Positive
from mae_core.parts.patches import PatchTokenizer, grid_sizes
from mae_core.parts.pixels import Reduction, weigh_counts
from mae_registry import ConfigError, MaeError

EPS = 1e-6


class DepthPatches(PatchTokenizer):
    """Depth maps (B, 1, H, W) in any unit -> patches on the grid h, w. Each map is standardised by itself.

    Args:
        input_size: height and width in pixels; the patch must divide it.
        patch_size: height and width of a patch in pixels.
    """

    axes = ("h", "w")

    def __init__(
        self,
        width: int | None,
        *,
        input_size: tuple[Positive, Positive] = (224, 224),
        patch_size: tuple[Positive, Positive] = (16, 16),
    ) -> None:
        super().__init__(width, input_size=input_size, patch_size=patch_size, channels=1, mean=(0.0,), std=(1.0,))
        if self.proj is not None:
            nn.init.xavier_uniform_(self.proj.weight)

    def normalize(self, x: Tensor) -> Tensor:
        """Less the mean, over the standard deviation, of the central 80% of each map's values."""
        values = x.float().flatten(1)
        num_values = values.shape[1]
        central = values.sort(dim=1).values[:, num_values // 10 : num_values * 9 // 10]
        mean, var = central.mean(dim=1, keepdim=True), central.var(dim=1, keepdim=True)
        return ((values - mean) / (var + EPS).sqrt()).reshape(x.shape)

    def denormalize(self, x: Tensor) -> Tensor:
        """For pictures: three standard deviations around the mean become 0..1. The unit cannot be had back."""
        return 0.5 + x / 6


class SemsegPatches(Tokenizer):
    """Label maps (B, H / stride, W / stride), whole numbers -> patches of labels, embedded by class.

    Args:
        input_size, patch_size: of the photograph that the labels belong to, in its pixels.
        stride: pixels of the photograph for one label.
        num_classes: labels are from 0 to num_classes - 1; MultiMAE has COCO's 133.
        class_width: of the learned vector that stands for a class.
    """

    def __init__(
        self,
        width: int | None,
        *,
        input_size: tuple[Positive, Positive] = (224, 224),
        patch_size: tuple[Positive, Positive] = (16, 16),
        stride: Positive = 4,
        num_classes: Annotated[int, Field(ge=2)] = 133,
        class_width: Positive = 64,
    ) -> None:
        super().__init__()
        height, width_labels = grid_sizes(("h", "w"), input_size, (stride, stride)).values()
        self.sides = tuple(grid_sizes(("h", "w"), patch_size, (stride, stride)).values())
        self.grid = Grid(**grid_sizes(("h", "w"), (height, width_labels), self.sides))
        self.sample_shape = (height, width_labels)
        self.patch_dim = self.sides[0] * self.sides[1]
        self.num_classes, self.stride = num_classes, stride
        if width is not None:
            self.class_embedding = nn.Embedding(num_classes, class_width)
            nn.init.trunc_normal_(self.class_embedding.weight, std=0.02)
            self.proj = nn.Linear(self.patch_dim * class_width, width)
            nn.init.xavier_uniform_(self.proj.weight)

    def patchify(self, x: Tensor) -> Tensor:
        """(B, H', W') -> (B, N, P) labels."""
        if x.shape[1:] != self.sample_shape:
            raise MaeError(f"the model takes labels of shape {self.sample_shape}, in batches; got {tuple(x.shape)}")
        return rearrange(x, "b (h p) (w q) -> b (h w) (p q)", p=self.sides[0], q=self.sides[1])

    def unpatchify(self, patches: Tensor) -> Tensor:
        """(B, N, P) -> (B, H', W')."""
        return rearrange(patches, "b (h w) (p q) -> b (h p) (w q)", h=self.grid["h"], p=self.sides[0])

    def embed(self, patches: Tensor, ids: Tensor, extras: Extras = NO_EXTRAS) -> Tensor:
        """(B, K, P) labels -> (B, K, D)."""
        return self.proj(self.class_embedding(patches).flatten(2))

    def normalize(self, x: Tensor) -> Tensor:
        """Labels as they are."""
        return x.long()

    def denormalize(self, x: Tensor) -> Tensor:
        """Labels as they are, as floats."""
        return x.float()


class Classes(Target):
    """The class of every label of a patch: cross-entropy, mean over the patch's labels, then as `reduction` says."""

    has_picture = True

    def __init__(self, place: TargetPlace, *, reduction: Reduction = "sample") -> None:
        super().__init__()
        tokenizer = place.tokenizer
        if not isinstance(tokenizer, SemsegPatches):
            raise ConfigError(f"the target 'classes' needs the tokenizer 'semseg_patches', not {type(tokenizer).__name__}")
        self.num_classes = tokenizer.num_classes
        self.dim = self.num_classes * tokenizer.patch_dim
        self.reduction: Reduction = reduction

    def prepare(self, seen: Seen) -> Tensor:
        """(B, N, P) labels."""
        return seen.patches

    def error(self, pred: Tensor, truth: Tensor) -> Tensor:
        """Scores (rows, M, classes * P), class first, and labels (rows, M, P) -> (rows, M)."""
        scores = pred.unflatten(-1, (self.num_classes, -1))
        per_label = F.cross_entropy(scores.flatten(0, 1), truth.flatten(0, 1), reduction="none")
        return per_label.mean(dim=-1).reshape(truth.shape[:2])

    def weight(self, counts: Tensor) -> Tensor:
        """The weights according to `reduction`."""
        return weigh_counts(counts, self.reduction)

    def to_patches(self, pred: Tensor, patches: Tensor) -> Tensor:
        """The likeliest class."""
        return self.raw_patches(pred)

    def raw_patches(self, pred: Tensor) -> Tensor:
        """The likeliest class."""
        return pred.unflatten(-1, (self.num_classes, -1)).argmax(dim=-2).float()
