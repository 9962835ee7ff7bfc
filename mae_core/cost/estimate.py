"""The cost of a recipe: model, length of the run, hours and money, as `mae cost` prints it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mae_core.config import Config
from mae_core.config.structure import TASK
from mae_core.cost.data import absent_sources, parse_sizes
from mae_core.cost.model import ModelCost, measure
from mae_core.cost.run import UTILIZATION, Hardware, Run, Time, count_run, estimate
from mae_core.interfaces import Task
from mae_core.registry import build_component
from mae_registry import ConfigError, MaeError

NO_TRAIN = "the recipe has no section `train`, so it has no steps"
NO_SIZE = "the number of samples is not known; say it with --samples"


@dataclass(frozen=True)
class Cost:
    """What a recipe costs."""

    recipe: str
    hardware: Hardware
    devices: int
    half: bool
    """Whether matrix products are in 16 bits."""
    model: ModelCost
    run: Run | None
    why_no_run: str
    """Where there is no run: why its length is not known."""
    absent: str
    """Why the data are not here; empty: they are."""
    time: Time | None

    @property
    def bits(self) -> int:
        """Of the numbers in matrix products."""
        return 16 if self.half else 32

    @property
    def peak(self) -> float:
        """FLOP/s of one device."""
        return self.hardware.half if self.half else self.hardware.single

    @property
    def utilization(self) -> float:
        """The share of the peak that is assumed to be reached."""
        return UTILIZATION

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and numbers."""
        return asdict(self) | {"utilization": UTILIZATION}


def cost(
    config: Config,
    *,
    hardware: Hardware,
    devices: int = 1,
    samples: Sequence[str] = (),
    rate: float | None = None,
    price: float | None = None,
) -> Cost:
    """Measure the model of a recipe, and estimate its run.

    Args:
        samples: numbers of samples of an epoch, as texts; see `parse_sizes`. Without any, the data of the recipe are counted.
        rate: samples a second, of all devices together; None: estimated.
        price: of one device for an hour.

    Raises MaeError for what cannot be trained or measured.
    """
    task: Task[Any] = build_component("tasks", config.get("task", {"name": TASK}), config)
    absent = _find_data(config, task)
    sizes = parse_sizes(samples, list(task.sources))
    why = NO_TRAIN if "train" not in config else "" if sizes or not absent else f"{NO_SIZE} ({absent})"
    run = None
    if not why:
        num_views = {name: source.num_views for name, source in task.sources.items()}
        lengths = {name: source.draws.number if source.draws else len(source) for name, source in task.sources.items()}
        run = count_run(config["train"], sizes or lengths, num_views)
    half = config.get("train", {}).get("precision") != "32-true"
    try:
        model = measure(config, task, half=half)
    except MaeError as error:
        if not absent:
            raise
        raise MaeError(f"{error}\nThe data are not here ({absent}), and samples without extras stood in for them") from error
    time = None
    if run is not None:
        flops = sum(share * model.training(source) for source, share in run.shares.items())
        peak = hardware.half if half else hardware.single
        time = estimate(run, flops, peak=peak, devices=devices, rate=rate, price=price)
    return Cost(config.name, hardware, devices, half, model, run, why, absent, time)


def _find_data(config: Config, task: Task[Any]) -> str:
    """Give the task its sources, or what stands in for them. Returns why they are not here; empty: they are."""
    try:
        task.open_data()
    except ConfigError as error:
        task.sources = absent_sources(config)
        return str(error)
    return ""
