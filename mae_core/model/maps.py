"""The outputs of an encoder's layers as maps of features, for detection, segmentation and the like."""

from torch import Tensor

from mae_core.interfaces import Grid, Latent
from mae_registry import MaeError


def feature_map(latent: Latent, grid: Grid, *, layer: int) -> Tensor:
    """A layer of the latent of whole samples of one modality -> (rows, D, *sizes), without prefix tokens.

    `grid` is the tokenizer's. Sizes are the grid's, or, where a patch has several tokens in this layer, as in the stages of a
    Hiera, as many times finer. Raises MaeError where some patches are hidden.
    """
    x = latent.layers[layer][:, latent.num_prefix :]
    if x.shape[1] != grid.num_patches:
        raise MaeError(f"a map needs all {grid.num_patches} patches of the grid {grid}; this latent has {x.shape[1]}")
    x = x.gather(1, latent.ids.argsort(dim=1).reshape(*latent.ids.shape, *[1] * (x.ndim - 2)).expand_as(x))
    axes, finer = len(grid.sizes), list(x.shape[2:-1]) or [1] * len(grid.sizes)
    x = x.reshape(x.shape[0], *grid.sizes, *finer, x.shape[-1])
    interleaved = [place for axis in range(axes) for place in (1 + axis, 1 + axes + axis)]
    sizes = [size * parts for size, parts in zip(grid.sizes, finer, strict=True)]
    by_place = x.permute(0, x.ndim - 1, *interleaved)
    return by_place.reshape(x.shape[0], x.shape[-1], *sizes)
