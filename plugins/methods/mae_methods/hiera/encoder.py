"""Hiera (Ryali et al. 2023): a hierarchy of plain transformer blocks, which see visible mask units only."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mae_core.interfaces import Encoder, Latent, Mask, Tokenizer, Visible
from mae_core.interfaces.numbers import Depth
from mae_core.parts.blocks import LayerNorm, init_linear_and_norm, require_heads_divide
from mae_methods.hiera.blocks import HieraBlock
from mae_methods.hiera.positions import JointPositions, SeparablePositions
from mae_methods.hiera.sizes import TokenSizes, token_sizes
from mae_methods.hiera.units import MaskUnits
from mae_registry import ConfigError

Positive = Annotated[int, Field(ge=1)]
Sides = Annotated[Sequence[Positive], Field(min_length=1)]
Depths = Annotated[Sequence[Depth], Field(min_length=1, max_length=8)]

LOCAL_STAGES = 2
"""The number of stages in which tokens attend only within their own mask unit."""


class HieraEncoder(Encoder):
    """Stages of transformer blocks, each twice as wide as the one before and, until a patch has one token, half as fine.

    A convolution embeds the sample, whose hidden patches are zero; the tokens of hidden mask units are then dropped. The first
    two stages attend within mask units, the others between all tokens. How many stages pool follows from the tokenizer's
    patches: two of the four for patches of 16 pixels, as in pre-training, three for patches of 32. The latent is the sum of
    what the last stage, and each stage that is finer, made of a patch.

    Layer i is the output of stage i, layer 0 the input of the first one. Where a patch has several tokens, a layer has the
    shape (rows, K, *finer, D), `finer` being the grid of a patch's tokens and D the width of the stage.

    Args:
        width, depths, heads: width and heads of the first stage, which double from stage to stage, and the blocks of each.
            T is 96, [1, 2, 7, 2], 1; S 96, [1, 2, 11, 2], 1; B 96, [2, 3, 16, 3], 1; B+ 112, [2, 3, 16, 3], 2;
            L 144, [2, 6, 36, 4], 2; H 256, [2, 6, 36, 4], 4.
        kernel, stride: of the embedding along each axis of a sample; the kernel is odd. Videos have [3, 7, 7] and [2, 4, 4].
        mask_unit: its tokens along each axis. [8, 8] are 32 x 32 pixels; videos have [1, 8, 8]. The masker must hide them as
            one, by its `unit`, which counts patches.
        separable_positions: learned positions are the sum of one for the first axis and one for the others (videos).
        fusion: add the finer stages to the latent, as in pre-training; if false, the latent is the last stage's.
        mlp_ratio: hidden width of the MLPs, as a multiple of their width.
    """

    token_width = None
    num_prefix_tokens = 0

    def __init__(
        self,
        inputs: Mapping[str, Tokenizer],
        *,
        width: Positive,
        depths: Depths,
        heads: Positive,
        kernel: Sides = (7, 7),
        stride: Sides = (4, 4),
        mask_unit: Sides = (8, 8),
        separable_positions: bool = False,
        fusion: bool = True,
        mlp_ratio: Annotated[float, Field(gt=0)] = 4.0,
    ) -> None:
        super().__init__()
        require_heads_divide(width, heads)
        self.entry, tokenizer = _only(inputs)
        self._unpatchify = tokenizer.unpatchify  # the tokenizer itself belongs to the backbone
        sizes = token_sizes(tokenizer, stride=stride, unit=mask_unit)
        if len(depths) <= sizes.num_pools:
            raise ConfigError(
                f"the tokenizer's patches are pooled {sizes.num_pools} times, which needs at least {sizes.num_pools + 1} "
                f"stages; depths has {len(depths)}"
            )
        self.units, self._unit_patches = MaskUnits(sizes), list(sizes.unit_patches)
        widths = [width * 2**stage for stage in range(len(depths))]
        self.width, self.num_layers, self.depths = widths[-1], len(depths), list(depths)
        self.embed = make_convolution(tokenizer.sample_shape[0], width, kernel=kernel, stride=stride)
        self.positions = (SeparablePositions if separable_positions else JointPositions)(sizes.sample, width)
        self.blocks = _make_blocks(widths, depths, sizes, heads=heads, mlp_ratio=mlp_ratio)
        self.fused_sides = [sizes.finer(stage) for stage in range(sizes.num_pools)] if fusion else []
        self.fusion = nn.ModuleList(  # published as convolutions whose stride is their kernel: linear in a patch's tokens
            nn.Linear(math.prod(sides) * widths[stage], self.width) for stage, sides in enumerate(self.fused_sides)
        )
        self.norm = LayerNorm(self.width)
        self.blocks.apply(init_linear_and_norm)

    def forward(self, visible: Visible, *, layers: Sequence[int] = ()) -> Latent:
        """The latent of the patches of visible mask units."""
        hidden, ids = visible.hidden, visible.ids
        if hidden.device.type == "cpu" and not torch.compiler.is_compiling():  # on other devices to look is to wait
            self._require_whole_units(hidden)
        units = self.units.visible(hidden, num_patches=ids.shape[1])
        stages = self._run_stages(self.units.take_tokens(self._embed(visible), units))
        wanted = {layer: self.units.take_patches(self.units.by_patch(stages[layer]), units, ids) for layer in layers}
        return visible.latent(self.units.take_patches(self._fuse(stages), units, ids), layers=wanted)

    def layer_of(self, name: str) -> int | None:
        """The embedding and its positions are the input; blocks are counted through all stages."""
        return 0 if name.startswith(("embed.", "positions.")) else super().layer_of(name)

    def check_mask(self, mask: Mask) -> None:
        """Raise ConfigError for masks that hide a part of a mask unit."""
        super().check_mask(mask)
        self._require_whole_units(mask.hidden)

    def _embed(self, visible: Visible) -> Tensor:
        """(rows, tokens, D of the first stage), in raster order."""
        x = self._unpatchify(visible.patches(self.entry))
        return self.embed(x).flatten(2).transpose(1, 2) + self.positions()

    def _run_stages(self, x: Tensor) -> list[Tensor]:
        """(rows, V, L, D) and what each stage makes of it."""
        outputs, blocks = [x], iter(self.blocks)
        for depth in self.depths:
            for _ in range(depth):
                x = next(blocks)(x)
            outputs.append(x)
        return outputs

    def _fuse(self, stages: Sequence[Tensor]) -> Tensor:
        """(rows, V, P, D), normalised."""
        x = stages[-1]
        for head, stage in zip(self.fusion, stages[1:], strict=False):
            x = x + head(self.units.by_patch(stage).reshape(*x.shape[:3], -1))
        return self.norm(x)

    def _require_whole_units(self, hidden: Tensor) -> None:
        if not self.units.are_whole(hidden):
            raise ConfigError(
                "this mask hides a part of a mask unit, and the encoder 'hiera' sees or skips whole ones; set the masker's "
                f"unit to {self._unit_patches}, e.g. {{name: random, ratio: 0.6, unit: {self._unit_patches}}}"
            )


def make_convolution(channels: int, width: int, *, kernel: Sequence[int], stride: Sequence[int]) -> nn.Module:
    """A convolution that gives a token every `stride` places. Raises ConfigError for kernels that have no middle."""
    if len(kernel) != len(stride) or any(side % 2 == 0 for side in kernel):
        raise ConfigError(f"kernel is {list(kernel)}; it needs {len(stride)} odd numbers")
    padding = tuple(side // 2 for side in kernel)
    made = _convolution(len(kernel))(channels, width, tuple(kernel), tuple(stride), padding)
    nn.init.xavier_uniform_(made.weight.flatten(1))  # a view: as published, seen as a linear layer
    return made


def _convolution(num_axes: int) -> Callable[..., nn.Conv1d | nn.Conv2d | nn.Conv3d]:
    return (nn.Conv1d, nn.Conv2d, nn.Conv3d)[num_axes - 1]


def _make_blocks(
    widths: Sequence[int], depths: Sequence[int], sizes: TokenSizes, *, heads: int, mlp_ratio: float
) -> nn.ModuleList:
    """Of all stages. The first block of a stage takes what the one before gives, and still attends as that one does."""
    blocks = nn.ModuleList()
    for stage, depth in enumerate(depths):
        for number in range(depth):
            before = max(stage - 1, 0) if number == 0 else stage
            pools = before < stage <= sizes.num_pools
            blocks.append(
                HieraBlock(
                    widths[before],
                    widths[stage],
                    heads * 2**stage,
                    mlp_ratio=mlp_ratio,
                    num_pooled=math.prod(sizes.strides) if pools else 1,
                    within_units=before < LOCAL_STAGES,
                )
            )
    return blocks


def _only(inputs: Mapping[str, Tokenizer]) -> tuple[str, Tokenizer]:
    if len(inputs) != 1:
        raise ConfigError(f"the encoder 'hiera' takes one modality, and the model has {', '.join(inputs)}")
    return next(iter(inputs.items()))
