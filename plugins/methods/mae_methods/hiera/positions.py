"""Learned positions of tokens, which are finer than the patches of the model's grid."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class JointPositions(nn.Module):
    """One vector for each token, initialised from a normal distribution of standard deviation 0.02."""

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(nn.init.trunc_normal_(torch.empty(math.prod(sizes), width), std=0.02))

    def forward(self) -> Tensor:
        """(tokens, D)."""
        return self.table


class SeparablePositions(nn.Module):
    """The sum of a vector for the place along the first axis and of one for that along the others; initialised likewise."""

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        super().__init__()
        self.temporal = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, sizes[0], width), std=0.02))
        self.spatial = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, math.prod(sizes[1:]), width), std=0.02))

    def forward(self) -> Tensor:
        """(tokens, D)."""
        return (self.temporal.unsqueeze(2) + self.spatial.unsqueeze(1)).flatten(0, 2)
