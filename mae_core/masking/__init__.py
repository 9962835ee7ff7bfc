"""Maskers that depend on the grid alone."""

from mae_core.masking.block import BlockMasker
from mae_core.masking.dirichlet import DirichletMasker
from mae_core.masking.inverse_block import InverseBlockMasker
from mae_core.masking.multi_block import MultiBlockMasker
from mae_core.masking.none import NoMasker
from mae_core.masking.periodic import GridMasker
from mae_core.masking.random import RandomMasker

__all__ = [
    "BlockMasker",
    "DirichletMasker",
    "GridMasker",
    "InverseBlockMasker",
    "MultiBlockMasker",
    "NoMasker",
    "RandomMasker",
]
