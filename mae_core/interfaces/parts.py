"""The exchangeable parts of a masked autoencoder. Shapes: B samples, N patches, P values a patch, D width of a token.

One rule joins parts and recipes: **a constructor's keyword-only parameters come from the recipe** (annotated, so that they
can be checked), its positional ones from `mae_core.build`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from mae_core.interfaces.grid import Grid
from mae_core.interfaces.mask import Mask, MaskSets


class Tokenizer(nn.Module, ABC):
    """Samples <-> patches, and patches -> tokens. Built as `tokenizer(width, **recipe)`."""

    grid: Grid
    patch_dim: int
    sample_shape: tuple[int, ...]
    """Of one sample, without the batch: (channels, height, width) for images."""

    @abstractmethod
    def patchify(self, x: Tensor) -> Tensor:
        """(B, *sample_shape) -> (B, N, P). Raises MaeError on another shape."""

    @abstractmethod
    def unpatchify(self, patches: Tensor) -> Tensor:
        """(B, N, P) -> (B, *sample_shape), the inverse."""

    @abstractmethod
    def embed(self, patches: Tensor) -> Tensor:
        """(B, K, P) -> (B, K, D). Called with the patches that are kept only."""

    @abstractmethod
    def normalize(self, x: Tensor) -> Tensor:
        """What the dataset loads (e.g. uint8) -> the floats that the model takes."""

    @abstractmethod
    def denormalize(self, x: Tensor) -> Tensor:
        """The inverse, as floats in the range that the modality draws (images: 0 to 1)."""


class Positions(nn.Module, ABC):
    """What tells tokens where they lie. Built as `positions(grid, width, **recipe)`."""

    @abstractmethod
    def forward(self, ids: Tensor) -> Tensor:
        """(B, K) ids of patches -> (B, K, D) or (1, K, D), added to their tokens."""

    def class_position(self) -> Tensor | None:
        """(1, 1, D), added to the class token; None where it has no position, as in most systems."""
        return None


class Masker(ABC):
    """Draws which patches are hidden, knowing the grid and a generator only. Built as `masker(**recipe)`.

    Only `__call__` must be written. The other methods answer what a recipe that combines maskers has to know of its parts.
    A parameter named `ratio` is what `schedule` varies, and `mae reconstruct --mask-ratio` replaces.
    """

    needs_patches: bool = False
    """Whether masks depend on the samples: then each sample is masked on its own, by `guided_by(its patches)`."""

    @abstractmethod
    def __call__(self, grid: Grid, batch_size: int, *, generator: torch.Generator) -> MaskSets:
        """A mask on the CPU, or several for methods with several index sets, whose losses are averaged.

        Every row hides equally many, unless the mask is ragged. Raises ConfigError if it cannot mask this grid.
        """

    def at(self, progress: float) -> "Masker":
        """This masker at a share of training, 0 to 1: itself, unless it follows a schedule."""
        return self

    def guided_by(self, patches: Tensor) -> "Masker":
        """This masker for samples with these patches, (B, N, P) on the model's device: itself, unless it needs them."""
        return self

    def axes(self, grid: Grid) -> frozenset[str]:
        """The axes along which masks vary; what is hidden is so along all others. Maskers of disjoint axes combine exactly."""
        return frozenset(grid.axes)

    def cases(self) -> Sequence["Masker"]:
        """What masks may come from, if that differs from batch to batch. Each is tried when a model is built."""
        return [self]


class JointMasker(ABC):
    """Draws masks of paired modalities together. Built as `masker(**recipe)`, from the section `model.masker`."""

    @abstractmethod
    def __call__(self, grids: Mapping[str, Grid], batch_size: int, *, generator: torch.Generator) -> dict[str, Mask]:
        """Masks on the CPU. Every sample hides equally many patches of all modalities together, of one alone it may not."""


class Encoder(nn.Module, ABC):
    """Tokens of visible patches -> latents. Built as `encoder(**recipe)`."""

    width: int
    num_prefix_tokens: int
    mask_token: nn.Parameter | None
    """None: the encoder takes visible tokens only. Else (1, 1, D): it takes all N, hidden patches being this (Table 1c)."""

    @abstractmethod
    def forward(self, tokens: Tensor, class_position: Tensor | None = None) -> Tensor:
        """(B, K, D) with positions added -> (B, prefix + K, D), prefix tokens (class token) first.

        `class_position` (1, 1, D) is added to the class token, where there is one.
        """


class Decoder(nn.Module, ABC):
    """A set of context tokens and queried positions -> predictions.

    Built as `decoder(context_width, out_dim, grid, make_positions, dense, **recipe)`; `make_positions(width)` gives the
    modality's positions at the decoder's width. `dense`: the context is the whole grid in raster order, so queries are read
    from it. A decoder that `attends_to_all` gets two more: its modality's name, and (grid, make_positions) of all modalities,
    by name, in the order of their tokens.
    """

    attends_to_all: bool = False
    """Whether `latent` and `ids_keep` are of all modalities' tokens, numbered one modality after the other."""

    @abstractmethod
    def forward(
        self, latent: Tensor, ids_keep: Tensor, ids_predict: Tensor, *, num_prefix_tokens: int, predict_all: bool = False
    ) -> Tensor:
        """(B, prefix + K, D), (B, K), (B, M) -> (B, M, T).

        With `predict_all`: (B, K + M, T), context first; (B, N, T) in raster order where dense, and where it attends to all.
        """


class Target(nn.Module, ABC):
    """What is predicted, and the loss. Built as `target(tokenizer, **recipe)`."""

    dim: int

    @abstractmethod
    def forward(self, x: Tensor, patches: Tensor, ids: Tensor) -> Tensor:
        """Unmasked samples, their patches (B, N, P), ids (B, M) -> what to predict there, (B, M, T)."""

    @abstractmethod
    def loss(self, pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """(B, M, T), (B, M, T), (B, M) bool: which predictions count -> 0-d loss."""

    @abstractmethod
    def to_patches(self, pred: Tensor, patches: Tensor) -> Tensor:
        """Predictions of all patches (B, N, T) -> patches (B, N, P) for a picture.

        `patches` are the true ones: a target that was normalised by their statistics needs these to be drawn.
        """

    @property
    @abstractmethod
    def raw_differs(self) -> bool:
        """Whether `to_patches` used the true patches, so that an honest picture must show `raw_patches` too."""

    @abstractmethod
    def raw_patches(self, pred: Tensor) -> Tensor:
        """Predictions (B, N, T) -> patches (B, N, P) without any knowledge of the true ones."""


class Layout(ABC):
    """Names and shapes of a published family of checkpoints. Built as `layout()`."""

    @abstractmethod
    def to_model(self, model: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published tensors -> this model's, by its own names. Raises MaeError naming the tensor that does not fit."""

    @abstractmethod
    def from_model(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`tensors` with this model's names and shapes (its weights, or their gradients) by the published ones."""


MakePositions = Callable[[int], Positions]
