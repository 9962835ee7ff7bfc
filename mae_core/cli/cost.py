"""`mae cost`."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from mae_core.cli.training import Overrides, Recipe

if TYPE_CHECKING:
    from mae_core.cost.estimate import Cost
    from mae_core.cost.model import SampleCost

PREFIXES = {1e12: "T", 1e9: "G", 1e6: "M", 1e3: "k"}
LEAST = 1e4
"""FLOPs or bytes of a part that is worth a line."""


def cost(
    recipe: Recipe,
    overrides: Overrides = None,
    hardware: Annotated[str, typer.Option(help="The device to train on, such as h100, a100 or v100.")] = "h100",
    devices: Annotated[int, typer.Option(min=1, help="How many of them.")] = 1,
    samples: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NUMBER",
            help="Samples of an epoch, instead of those of the recipe's data. With several modalities: NAME=NUMBER for each.",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Samples that all devices together take in a second, as measured in a short run.",
            show_default="what 40% of the devices' peak gives",
        ),
    ] = None,
    price: Annotated[float | None, typer.Option(help="The price of one device for an hour.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for other programs to read.")] = False,
) -> None:
    """Estimate what a recipe costs: parameters, FLOPs, memory, steps, hours and money. Nothing is trained."""
    for option, number in (("--rate", rate), ("--price", price)):
        if number is not None and not 0 < number < float("inf"):
            raise typer.BadParameter(f"{option} must be a positive number; it is {number:g}")
    from mae_core.config import load_config
    from mae_core.cost.estimate import cost as find_cost
    from mae_core.cost.run import find_hardware

    device = find_hardware(hardware)
    config = load_config(recipe, overrides or [])
    found = find_cost(config, hardware=device, devices=devices, samples=samples or [], rate=rate, price=price)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        _print(found, is_measured=rate is not None)


def _print(cost: "Cost", *, is_measured: bool) -> None:
    parts = cost.model.parameters.items()
    whole = (sum(part.trained for _, part in parts), sum(part.frozen for _, part in parts))
    lines = [cost.recipe, "", _row("parameters", "trained", "frozen")]
    lines += [_row(f"  {name}", f"{part.trained:,}", f"{part.frozen:,}") for name, part in parts]
    lines += [_row("  all", *(f"{number:,}" for number in whole))]
    if cost.absent and "head" in cost.model.parameters:
        lines.append("  The data are not here to say how many classes there are; this head is one for 2.")
    for source, costs in cost.model.samples.items():
        lines += ["", *_sample(source, costs)]
    lines += ["", *_memory(cost), "", "training", *(_run(cost, is_measured=is_measured))]
    typer.echo("\n".join(lines))


def _row(name: str, *cells: str) -> str:
    return f"{name:<30}" + "".join(f"{cell:>16}" for cell in cells)


def _sample(source: str, parts: "Mapping[str, SampleCost]") -> list[str]:
    each = [(name, part.forward, part.training, part.saved) for name, part in parts.items()]
    whole = ("all", *(sum(numbers) for numbers in zip(*(numbers for _, *numbers in each), strict=True)))
    shown = [(name, *numbers) for name, *numbers in (*each, whole) if any(number >= LEAST for number in numbers)]
    rows = [
        _row(f"  {name}", _short(forward, "FLOP"), _short(training, "FLOP"), _short(saved, "B"))
        for name, forward, training, saved in shown
    ]
    return [_row(f"one sample of {source}", "forward", "training", "activations"), *rows]


def _memory(cost: "Cost") -> list[str]:
    memory = cost.model.memory
    rows = {
        "weights": memory.weights,
        "weights in 16 bits": memory.copies,
        "gradients": memory.gradients,
        "optimizer": memory.optimizer,
        "all": memory.total,
    }
    return ["memory besides activations", *(_row(f"  {name}", _short(size, "B")) for name, size in rows.items() if size)]


def _run(cost: "Cost", *, is_measured: bool) -> list[str]:
    run, time = cost.run, cost.time
    if run is None or time is None:
        return [f"  {cost.why_no_run}"]
    basis = (
        "as given by --rate"
        if is_measured
        else f"assuming {cost.utilization:.0%} of the peak, {_short(cost.peak, 'FLOP/s')} in {cost.bits} bits"
    )
    lines = [
        f"  steps    {run.steps:,} of {run.batch_size:,} samples; {_count(run.epochs, 'epoch')}",
        f"  samples  {run.samples:,}",
        f"  FLOPs    {time.flops:.3g}",
        f"  rate     {time.rate:,.0f} samples/s on {cost.devices} {cost.hardware.title}, {basis}",
        f"  hours    {_hours(time.hours)}"
        + (f", or {_hours(time.hours * cost.devices)} hours of one device" if cost.devices > 1 else ""),
    ]
    return lines if time.price is None else [*lines, f"  price    {time.price:,.2f}"]


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 1 else f"{hours:.2g}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _short(number: float, unit: str) -> str:
    """Three digits with a prefix, such as 12.3 GFLOP."""
    if number == 0:
        return "-"
    factor = max((factor for factor in PREFIXES if number >= factor), default=1.0)
    scaled = number / factor
    digits = 0 if scaled >= 99.95 else 1 if scaled >= 9.995 else 2
    return f"{scaled:,.{digits}f} {PREFIXES.get(factor, '')}{unit}"
