"""How the tokens, the patches and the mask units of Hiera divide a sample."""

from collections.abc import Sequence
from dataclasses import dataclass

from mae_core.interfaces import Tokenizer
from mae_registry import ConfigError

Sides = Sequence[int]


@dataclass(frozen=True)
class TokenSizes:
    """All in tokens, one number for each axis of a sample."""

    sample: Sides
    patch: Sides
    """1 along each axis, or else 2 to the power of `num_pools`."""
    unit: Sides
    """The sides of a mask unit, which consists of whole patches."""
    num_pools: int
    """How many times tokens are pooled, 2 to 1 along each axis, until a patch has one."""

    @property
    def strides(self) -> tuple[int, ...]:
        """What one pooling takes together, along each axis."""
        return tuple(2 if side > 1 else 1 for side in self.patch)

    @property
    def unit_patches(self) -> tuple[int, ...]:
        """Patches of a mask unit along each axis."""
        return divide(self.unit, self.patch)

    def finer(self, stage: int) -> tuple[int, ...]:
        """The tokens of a patch along each axis at a stage, counted from 0."""
        return tuple(stride ** (self.num_pools - stage) for stride in self.strides)


def token_sizes(tokenizer: Tokenizer, *, stride: Sides, unit: Sides) -> TokenSizes:
    """Sizes for samples of this tokenizer, a token every `stride` places of them. Raises ConfigError if they do not fit."""
    lengths, axes = tokenizer.sample_shape[1:], tokenizer.grid.axes
    if len(lengths) != len(axes) or len(axes) > 3:
        raise ConfigError(
            "the encoder 'hiera' needs samples of one to three axes beside their channels, and patches along each of them; the "
            f"grid has {', '.join(axes)}"
        )
    for name, sides in {"stride": stride, "mask_unit": unit}.items():
        if len(sides) != len(axes):
            raise ConfigError(f"{name} is {list(sides)}; it needs {len(axes)} numbers, for {', '.join(axes)}")
    patch_size = divide(lengths, tokenizer.grid.sizes)
    patch = divide(patch_size, stride)
    num_pools = max(patch).bit_length() - 1
    if any(part * step != side for part, step, side in zip(patch, stride, patch_size, strict=True)):
        raise ConfigError(f"stride {list(stride)} does not divide the tokenizer's patches, {list(patch_size)}")
    if any(side not in (1, 2**num_pools) for side in patch):
        raise ConfigError(
            f"patches of {list(patch_size)} have {list(patch)} tokens at stride {list(stride)}; along each axis a patch needs "
            "1 token, or a power of 2 that is the same for all other axes"
        )
    sample = divide(lengths, stride)
    if any(side % part or whole % side for whole, side, part in zip(sample, unit, patch, strict=True)):
        raise ConfigError(
            f"mask_unit {list(unit)} must be whole patches of {list(patch)} tokens and divide a sample of {list(sample)}"
        )
    return TokenSizes(sample, patch, unit, num_pools)


def divide(sizes: Sides, by: Sides) -> tuple[int, ...]:
    """Axis by axis."""
    return tuple(size // part for size, part in zip(sizes, by, strict=True))
