"""The `train` section of a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from mae_core.interfaces.numbers import Positive, PositiveFloat, Probability


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How long, how large, on what, and how often things are written down."""

    epochs: Positive
    """Passes over the data; with several modalities, over all of it together.

    An epoch's last, incomplete batch is left out, as in the published recipes.
    """
    batch_size: Positive
    """The effective batch: samples an optimizer step, over all devices and accumulated micro-batches."""
    device_batch_size: Positive | Literal["auto"] = "auto"
    """Samples at once on one device, a divisor of its share of the batch. auto: the largest that fits; on a CPU up to 64."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """auto: bf16-mixed on a GPU that has it, 16-mixed on an older one, 32-true on a CPU."""
    compile: bool = False
    """Compile encoder and decoder with torch.compile."""
    weights: Mapping[str, PositiveFloat] | None = None
    """How often a step takes each modality's data, where there are several. null: in proportion to their sizes."""
    clip_grad: PositiveFloat | None = None
    """Largest norm of all gradients together."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of everything: weights, order, crops, masks."""
    num_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Processes that load data; the result does not depend on it. auto: one for each core but one, at most 12."""
    checkpoint_steps: Positive | Literal["auto"] = "auto"
    """Steps between checkpoints. auto: ten minutes."""
    keep_checkpoints: Positive = 3
    """Newest checkpoints kept."""
    num_pictures: Annotated[int, Field(ge=0)] = 5
    """How often in a run reconstructions are drawn, evenly spaced, the last at the end."""
    max_bad_share: Probability = 0.05
    """Share of samples that may be unreadable (and so replaced) before the run stops; the first ten never stop it."""
