"""What every part must offer. Knows nothing of the parts themselves."""

from mae_core.interfaces.certificate import Certify, Check, Numbers, Published
from mae_core.interfaces.dataset import LABEL, BadSample, Dataset, Draws, KnownData, Labels, Modality, Preview, Reconstruction
from mae_core.interfaces.decoder import Decoder, DecoderPlace, in_raster_order
from mae_core.interfaces.devices import ALONE, Decided, Devices
from mae_core.interfaces.encoder import Encoder, Latent, Visible
from mae_core.interfaces.grid import Grid
from mae_core.interfaces.layout import Found, Layout
from mae_core.interfaces.learning import Head, MakeOptimizer, Schedule
from mae_core.interfaces.mask import Mask, MaskSets, Query, each_mask, gather_patches
from mae_core.interfaces.masker import Guide, JointMasker, Masker
from mae_core.interfaces.quantizer import Quantizer
from mae_core.interfaces.sample import NO_EXTRAS, Extras, Sample, as_sample, first_view, repeat_extras, with_views
from mae_core.interfaces.target import Momentum, Predicted, Seen, Target, TargetPlace, Teacher, Term
from mae_core.interfaces.task import Batch, Losses, Source, StepInputs, Task
from mae_core.interfaces.tokenizer import MakePositions, Positions, Tokenizer

__all__ = [
    "ALONE",
    "LABEL",
    "NO_EXTRAS",
    "BadSample",
    "Batch",
    "Certify",
    "Check",
    "Dataset",
    "Decided",
    "Decoder",
    "DecoderPlace",
    "Devices",
    "Draws",
    "Encoder",
    "Extras",
    "Found",
    "Grid",
    "Guide",
    "Head",
    "JointMasker",
    "KnownData",
    "Labels",
    "Latent",
    "Layout",
    "Losses",
    "MakeOptimizer",
    "MakePositions",
    "Mask",
    "MaskSets",
    "Masker",
    "Modality",
    "Momentum",
    "Numbers",
    "Positions",
    "Predicted",
    "Preview",
    "Published",
    "Quantizer",
    "Query",
    "Reconstruction",
    "Sample",
    "Schedule",
    "Seen",
    "Source",
    "StepInputs",
    "Target",
    "TargetPlace",
    "Task",
    "Teacher",
    "Term",
    "Tokenizer",
    "Visible",
    "as_sample",
    "each_mask",
    "first_view",
    "gather_patches",
    "in_raster_order",
    "repeat_extras",
    "with_views",
]
