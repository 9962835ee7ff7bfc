"""What the model of a recipe costs: its parameters, and FLOPs and memory of one sample."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from mae_core.config import Config
from mae_core.cost.meter import OTHER, Meter, Tally
from mae_core.interfaces import Batch, Decoder, Encoder, Head, Sample, Target, Task, Term
from mae_core.masking.sampling import Undrawn
from mae_core.model.backbone import Backbone, Input
from mae_core.model.classifier import Classifier
from mae_core.model.teachers import Teachers
from mae_core.registry import build_component
from mae_registry import MaeError

NUM_BATCHES = 4
"""Batches that are measured, evenly over the run: masks may follow a schedule, or differ from batch to batch."""
MAX_PATCHES = 2**21
"""Patches of the batches for which masks are drawn. Of these, a few samples are measured."""
BATCH_SIZE = 256
"""That of a recipe without `train`."""
NUM_ROWS = 2
"""Samples that are measured at once."""

PARTS: tuple[tuple[type[nn.Module], str, tuple[str, ...]], ...] = (
    (Teachers, "teacher", ()),
    (Classifier, "average", ()),  # the one inside of another
    (Backbone, "encoder", ()),
    (Encoder, "encoder", ("forward",)),
    (Decoder, "decoder", ("forward",)),
    (Target, "target", ("prepare", "error", "metrics")),
    (Term, "terms", ("error",)),
    (Head, "head", ("forward",)),
)
"""Types of modules, what their parameters and their work are called, and the methods that do it. Teachers work for targets."""
MASKER = "masker"
"""The part that draws masks which depend on the samples."""
ORDER = [*dict.fromkeys(called for _, called, _ in PARTS), MASKER, OTHER]
"""Of the parts in a table."""


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters."""

    trained: int
    frozen: int


@dataclass(frozen=True)
class SampleCost:
    """What one part does for one sample, on average over a run."""

    forward: float
    """FLOPs of the forward pass."""
    training: float
    """FLOPs of the forward and of the backward pass."""
    saved: float
    """Bytes that are kept for the backward pass, in the largest batch."""


@dataclass(frozen=True)
class Memory:
    """Bytes that do not depend on the number of samples."""

    weights: int
    gradients: int
    optimizer: int
    copies: int
    """Of weights in 16 bits, for the backward pass."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.copies


@dataclass(frozen=True)
class ModelCost:
    """What the model costs, whatever the length of the run."""

    parameters: Mapping[str, Parameters]
    """By part."""
    samples: Mapping[str, Mapping[str, SampleCost]]
    """By source and part."""
    memory: Memory

    def training(self, source: str) -> float:
        """FLOPs of the forward and backward pass of one sample."""
        return sum(part.training for part in self.samples[source].values())

    def saved(self, source: str) -> float:
        """Bytes that are kept for the backward pass of one sample."""
        return sum(part.saved for part in self.samples[source].values())


def measure(config: Config, task: Task[Any], *, half: bool) -> ModelCost:
    """Take some steps of the task, with tensors that have a shape and no values. `task` has its sources.

    `half`: whether matrix products are in 16 bits. Raises MaeError where shapes depend on what is in the samples.
    """
    with torch.device("meta"):
        task.build_model(fresh=False)
    model, mode = task.model, FakeTensorMode(allow_non_fake_inputs=True)
    several = len(config["model"]["modalities"]) > 1
    parameters = count_parameters(model, several=several)
    with mode:  # later, what is computed of real tensors alone, such as masks, is computed
        model.to_empty(device="cpu").train()
    steps = _Steps(config, task, mode, half)
    samples, copies = {}, 0
    for source in task.sources:
        samples[source], fixed = steps.measure(source)
        copies = max(copies, fixed)
    memory = Memory(
        weights=_bytes(model.parameters()) + _bytes(model.buffers()),
        gradients=_bytes(weight for weight in model.parameters() if weight.requires_grad),
        optimizer=steps.optimizer_state(),
        copies=copies,
    )
    return ModelCost(parameters, samples, memory)


def count_parameters(model: nn.Module, *, several: bool) -> dict[str, Parameters]:
    """Those of each part, the outermost one that they lie in. `several`: whether there are several modalities."""
    owners = [(name, _label(name, kind, several=several)) for name, _, kind, _ in _parts(model)]
    counts: dict[str, list[int]] = {}
    for name, weight in model.named_parameters():
        owner = next((label for prefix, label in owners if name.startswith(f"{prefix}.")), OTHER)
        counts.setdefault(owner, [0, 0])[0 if weight.requires_grad else 1] += weight.numel()
    return {owner: Parameters(trained, frozen) for owner, (trained, frozen) in counts.items()}


class _Steps:
    """Steps of a training that compute nothing."""

    def __init__(self, config: Config, task: Task[Any], mode: FakeTensorMode, half: bool) -> None:
        self.config, self.task, self.mode, self.half = config, task, mode, half
        self.batch_size: int = config["train"]["batch_size"] if "train" in config else BATCH_SIZE

    def measure(self, source: str) -> tuple[dict[str, SampleCost], int]:
        """The cost of one sample by part, and the bytes that are kept of copies of weights."""
        measured: dict[Any, Meter] = {}
        drawn = [self._draw(source, (2 * number + 1) / (2 * NUM_BATCHES)) for number in range(NUM_BATCHES)]
        for inputs in drawn:
            if _shapes(inputs) not in measured:
                measured[_shapes(inputs)] = self._take(source, inputs[0:NUM_ROWS])
        meters = [measured[_shapes(inputs)] for inputs in drawn]
        parts = sorted({part for meter in meters for part in meter.tallies}, key=self._rank)
        costs = {part: _average([meter.tallies[part] for meter in meters]) for part in parts}
        return costs, max(meter.copied for meter in meters)

    def optimizer_state(self) -> int:
        """Bytes. Every weight that had a gradient gets its state in the first step."""
        if "optimizer" not in self.config:
            return 0
        optimizer: torch.optim.Optimizer = build_component(
            "optimizers", self.config["optimizer"], self.task.model, self.batch_size
        )
        for group in optimizer.param_groups:
            for weight in group["params"]:
                weight.grad = torch.zeros_like(weight)
        optimizer.step()
        return _bytes(value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor))

    def _draw(self, source: str, progress: float) -> Any:
        """Masks, or whatever belongs to a batch, at a share of the run."""
        grids = [module.tokenizer.grid for module in self.task.model.modules() if isinstance(module, Input)]
        most = MAX_PATCHES // sum(grid.num_patches for grid in grids)
        num_rows = max(NUM_ROWS, min(self.batch_size * self.task.sources[source].num_views, most))
        generator = torch.Generator().manual_seed(round(1000 * progress))
        return self.task.begin(source, num_rows, generator=generator, progress=progress)

    def _take(self, source: str, inputs: Any) -> Meter:
        """One step of some rows of a batch."""
        model, batch = self.task.model, self._batch(source)
        meter = Meter([*model.parameters(), *model.buffers()])
        for name, module, kind, methods in _parts(model):
            for method in methods:
                meter.watch(module, method, _label(name, kind, several=len(batch) > 1))
        try:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.half), meter:
                self._run(meter, batch, inputs)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise MaeError(
                f"the cost of this recipe cannot be computed: shapes of its tensors depend on what is in the samples ({error})"
            ) from error
        finally:
            _unwatch(model)
        model.zero_grad(set_to_none=True)
        return meter

    def _run(self, meter: Meter, batch: Batch, inputs: Any) -> None:
        weights = self.task.weigh(inputs)
        if weights is None:
            with meter.part(MASKER):
                inputs = self.task.settle(batch, inputs)
            weights = self.task.weigh(inputs)
            assert weights is not None
        with meter.saving():
            losses = self.task.losses(self.task.model, batch, inputs, weights)
            loss = torch.stack(list(losses.parts.values())).sum()
        meter.backward(loss)

    def _rank(self, part: str) -> tuple[int, int]:
        """Where a part stands in a table: by what it does, then by its modality."""
        what, _, entry = part.partition(" of ")
        entries = list(self.config["model"]["modalities"])
        return ORDER.index(what), entries.index(entry) if entry else 0

    def _batch(self, source: str) -> Batch:
        """Rows like a sample of the source."""
        loaded = self.task.sources[source].load(0, seed=0)
        rows = {
            entry: Sample(_rows(self.mode.from_tensor(sample.x)), {key: _rows(extra) for key, extra in sample.extras.items()})
            for entry, sample in loaded.items()
        }
        return self.task.normalize(rows)


def _rows(views: Tensor) -> Tensor:
    """The first view, as often as it is measured."""
    return views[:1].expand(NUM_ROWS, *views.shape[1:])


def _average(tallies: Sequence[Tally]) -> SampleCost:
    forward = sum(tally.forward for tally in tallies) / len(tallies) / NUM_ROWS
    backward = sum(tally.backward for tally in tallies) / len(tallies) / NUM_ROWS
    return SampleCost(forward, forward + backward, max(tally.saved for tally in tallies) / NUM_ROWS)


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, Sequence[str]]]:
    """(name, module, what it is called, methods to watch) of every part, outer ones first."""
    for name, module in model.named_modules():
        for kind, called, methods in PARTS:
            if name and isinstance(module, kind):
                yield name, module, called, methods


def _label(name: str, called: str, *, several: bool) -> str:
    """A part's name, with its modality's where there are several: what lies under `modalities.NAME` is that modality's."""
    path = name.split(".")
    return f"{called} of {path[1]}" if several and path[0] == "modalities" else called


def _unwatch(model: nn.Module) -> None:
    """Undo `Meter.watch`."""
    for _, module, _, methods in _parts(model):
        for method in methods:
            delattr(module, method)


def _shapes(value: object) -> Any:
    """The shapes of all tensors in what belongs to a batch. What is drawn later is like nothing but itself."""
    if isinstance(value, Undrawn):
        return id(value)
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if dataclasses.is_dataclass(value):
        return tuple(_shapes(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, Mapping):
        return tuple(_shapes(item) for item in value.values())
    return tuple(map(_shapes, value)) if isinstance(value, tuple | list) else None


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
