"""The outputs of Hiera's stages as maps of features, for what looks at several resolutions."""

from torch import Tensor

from mae_core.interfaces import Grid, Latent
from mae_registry import MaeError


def feature_map(latent: Latent, grid: Grid, *, layer: int) -> Tensor:
    """A layer of the latent of whole samples of one modality -> (rows, D, *sizes), D and sizes being those of the stage.

    `grid` is the tokenizer's. Of images whose patches have 32 pixels, layers 1 to 4 have a place every 4, 8, 16 and 32 pixels:

        latent = backbone.encode({"image": x}, layers=[1, 2, 3, 4])
        maps = [feature_map(latent, backbone.input("image").tokenizer.grid, layer=layer) for layer in (1, 2, 3, 4)]

    Raises MaeError where some patches are hidden.
    """
    x = latent.layers[layer]
    if x.shape[1] != grid.num_patches:
        raise MaeError(f"a map needs all {grid.num_patches} patches of the grid {grid}; this latent has {x.shape[1]}")
    x = x.gather(1, latent.ids.argsort(dim=1).reshape(*latent.ids.shape, *[1] * (x.ndim - 2)).expand_as(x))
    axes, finer = len(grid.sizes), list(x.shape[2:-1]) or [1] * len(grid.sizes)
    x = x.reshape(len(x), *grid.sizes, *finer, x.shape[-1])
    interleaved = [place for axis in range(axes) for place in (1 + axis, 1 + axes + axis)]
    sizes = [size * parts for size, parts in zip(grid.sizes, finer, strict=True)]
    by_place = x.permute(0, x.ndim - 1, *interleaved)
    return by_place.reshape(len(x), x.shape[-1], *sizes)
