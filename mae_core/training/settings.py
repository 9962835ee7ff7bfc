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
    batch_size: Annotated[int, Field(ge=1, le=2**24)]
    """The effective batch: the samples of one optimizer step, whatever fits on the device at once."""
    device_batch_size: Positive | Literal["auto"] = "auto"
    """Samples on a device at once, at most; gradients add up to those of the batch.

    auto: the largest that fits the GPU, found out by trying when the run starts; on a CPU at most 64.
    """
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train. auto: on a GPU where there is one."""
    devices: Positive | Literal["auto"] = "auto"
    """Devices of each machine, with a process each. auto: all GPUs; without one, a single process.

    Every number of devices gives the same step but for rounding, unless the model has a BatchNorm or drops paths.
    """
    nodes: Positive | Literal["auto"] = "auto"
    """Machines. auto: as many as torchrun or SLURM started this on; otherwise one."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """How several devices share the work. ddp: each has the whole model. fsdp: each has a part of all weights."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """auto: bf16-mixed on a GPU that has it, 16-mixed on an older one, 32-true on a CPU."""
    compile: bool = False
    """Compile each block of the encoder and of the decoders with torch.compile."""
    recompute: bool = False
    """Compute what is inside a block again in the backward pass (activation checkpointing): a fifth to a third slower, in much
    less memory."""
    weights: Mapping[str, PositiveFloat] | None = None
    """How often a step takes each modality's data, where there are several. null: in proportion to their sizes."""
    clip_grad: PositiveFloat | None = None
    """Gradients are scaled down to this norm, of all of them together. null: they are left as they are."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The seed of everything random: weights, order, crops, masks."""
    num_workers: Annotated[int, Field(ge=0, le=1024)] | Literal["auto"] = "auto"
    """Processes that load data, for each device; the result does not depend on it.

    auto: one for each core of the device's share but one, at most 12.
    """
    checkpoint_steps: Positive | Literal["auto"] = "auto"
    """Steps between checkpoints. auto: ten minutes."""
    keep_checkpoints: Positive = 3
    """Newest checkpoints kept."""
    num_pictures: Annotated[int, Field(ge=0)] = 5
    """How often in a run pictures are written, evenly spaced, the last ones at the end."""
    num_validations: Annotated[int, Field(ge=0)] = 10
    """How often in a run the model is measured on held-out data, evenly spaced, the last time at the end."""
    max_bad_share: Probability = 0.05
    """The share of samples that may be unreadable, and so replaced, before the run stops; the first ten never stop it."""
