"""What every part must offer. Knows nothing of the parts themselves."""

from mae_core.interfaces.dataset import BadSample, Check, Dataset, Modality, Preview, Reconstruction
from mae_core.interfaces.decoder import Decoder, DecoderPlace, in_raster_order
from mae_core.interfaces.encoder import Encoder, Latent, Visible
from mae_core.interfaces.grid import Grid
from mae_core.interfaces.layout import Layout
from mae_core.interfaces.mask import Mask, MaskSets, Query, each_mask, gather_patches
from mae_core.interfaces.masker import Guide, JointMasker, Masker
from mae_core.interfaces.sample import NO_EXTRAS, Extras, Sample, as_sample, repeat_extras
from mae_core.interfaces.target import Momentum, Predicted, Seen, Target, TargetPlace, Teacher, Term
from mae_core.interfaces.head import Head
from mae_core.interfaces.task import Batch, Losses, Source, StepInputs, Task
from mae_core.interfaces.tokenizer import MakePositions, Positions, Tokenizer

__all__ = [
    "NO_EXTRAS",
    "BadSample",
    "Check",
    "Dataset",
    "Decoder",
    "DecoderPlace",
    "Encoder",
    "Extras",
    "Grid",
    "Guide",
    "JointMasker",
    "Latent",
    "Layout",
    "MakePositions",
    "Mask",
    "MaskSets",
    "Masker",
    "Modality",
    "Momentum",
    "Positions",
    "Predicted",
    "Preview",
    "Query",
    "Reconstruction",
    "Sample",
    "Seen",
    "Target",
    "TargetPlace",
    "Teacher",
    "Term",
    "Tokenizer",
    "Visible",
    "as_sample",
    "each_mask",
    "gather_patches",
    "in_raster_order",
    "repeat_extras",
    "Head",
    "Batch",
    "Losses",
    "Source",
    "StepInputs",
    "Task",
]
