"""What every part must offer. Knows nothing of the parts themselves."""

from mae_core.interfaces.data import BadSample, Check, Dataset, Modality, Preview, Reconstruction
from mae_core.interfaces.grid import Grid
from mae_core.interfaces.mask import Mask, MaskSets, each_mask, gather_patches
from mae_core.interfaces.parts import Decoder, Encoder, JointMasker, Layout, MakePositions, Masker, Positions, Target, Tokenizer

__all__ = [
    "BadSample",
    "Check",
    "Dataset",
    "Decoder",
    "Encoder",
    "Grid",
    "JointMasker",
    "Layout",
    "MakePositions",
    "Mask",
    "MaskSets",
    "Masker",
    "Modality",
    "Positions",
    "Preview",
    "Reconstruction",
    "Target",
    "Tokenizer",
    "each_mask",
    "gather_patches",
]
