"""How the cost of a step grows with mask ratio, tokens, batch and model size, beside what `mae cost` says it should.

    python bench/scaling.py [--recipe image/mae_vit_base] [--rounds 5] [--out scaling.png] [--tiny]

Each curve changes one thing and takes all else from the recipe; without a GPU, from a small model. The points of a curve take
turns. All numbers are multiples of one point of the same curve: the measured time of a step (forward, backward, AdamW), and the
FLOPs of its matrix products. Where time grows by less than FLOPs, something is paid for that is not multiplication.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from measuring import DEVICE, machine, note, table, take_turns

import mae_core
from mae_core import Config
from mae_core.cost.estimate import cost
from mae_core.cost.run import HARDWARE
from mae_core.parts.optimizers import adamw

SMALL_MODEL = [
    *(f"model.encoder.{size}" for size in ("width=192", "depth=6", "heads=3")),
    *(f"model.modalities.image.decoder.{size}" for size in ("width=96", "depth=2", "heads=3")),
]
"""For a CPU."""
RATIOS = (0.01, 0.25, 0.5, 0.75, 0.9, 0.95)
"""Where nothing at all is hidden, there is nothing to learn, and no such model can be built."""
SIDES = (96, 160, 224, 320, 448)
SIZES = {
    "width 96, depth 3": (96, 3, 3),
    "192, 6": (192, 6, 3),
    "384, 8": (384, 8, 6),
    "384, 12": (384, 12, 6),
    "768, 12": (768, 12, 12),
    "1024, 24": (1024, 24, 16),
}


@dataclass(frozen=True)
class Point:
    """One model and batch on a curve."""

    label: str
    x: float
    overrides: Sequence[str]
    batch: int


def curves(batch: int, *, tiny: bool) -> dict[str, tuple[list[Point], int]]:
    """Points by what is changed, and which of them is the unit."""
    step = 2 if tiny else 1
    all_sizes = list(SIZES.items())
    chosen = all_sizes[:3] if tiny else all_sizes[:5] if DEVICE == "cpu" else all_sizes[1:]
    ratios = [Point(f"{value:.0%}", value, [_masked(value)], batch) for value in RATIOS]
    sides = [
        Point(f"{(side // 16) ** 2} tokens", (side // 16) ** 2, [_sized(side)], batch) for side in SIDES[: 3 if tiny else 5]
    ]
    batches = [
        Point(f"{number} samples", number, [], number) for number in (batch // 4, batch // 2, batch, 2 * batch, 4 * batch)
    ]
    sizes = [
        Point(
            label,
            number,
            [f"model.encoder.width={width}", f"model.encoder.depth={depth}", f"model.encoder.heads={heads}"],
            batch,
        )
        for number, (label, (width, depth, heads)) in enumerate(chosen)
    ]
    return {
        "mask ratio": (ratios[::step], 3 // step),
        "tokens": (sides, len(sides) // 2),
        "batch": (batches, 2),
        "encoder": (sizes, len(sizes) // 2),
    }


def _masked(share: float) -> str:
    return f"model.modalities.image.masker={{name: random, ratio: {share}}}"


def _sized(side: int) -> str:
    return f"model.modalities.image.tokenizer.input_size=[{side}, {side}]"


def step_of(config: Config, batch: int) -> Callable[[], None]:
    torch.manual_seed(0)
    model = mae_core.build_model(config).to(DEVICE)
    optimizer, generator = adamw(model, batch, base_lr=1e-6), torch.Generator().manual_seed(0)
    x = torch.randn(batch, *model.parts("image").tokenizer.sample_shape, device=DEVICE)

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            loss = model({"image": x}, generator=generator).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def flops_of(config: Config) -> float:
    measured = cost(config, hardware=HARDWARE["h100"], samples=["1000000"]).model
    return sum(measured.training(source) for source in measured.samples)


def measure(
    recipe: str, base: Sequence[str], points: Sequence[Point], unit: int, num_rounds: int
) -> list[tuple[Point, float, float, float]]:
    """(point, seconds of a step, time and FLOPs as multiples of the unit's) of one curve."""
    configs = [mae_core.load_config(recipe, [*base, *point.overrides]) for point in points]
    steps = {point.label: step_of(config, point.batch) for point, config in zip(points, configs, strict=True)}
    seconds = list(take_turns(steps, num_rounds=num_rounds).values())
    flops = [point.batch * flops_of(config) for point, config in zip(points, configs, strict=True)]
    ratios = [statistics.median(a / b for a, b in zip(own, seconds[unit], strict=True)) for own in seconds]
    each = zip(points, seconds, ratios, flops, strict=True)
    return [(point, statistics.median(own), times, needed / flops[unit]) for point, own, times, needed in each]


def draw(found: Mapping[str, Sequence[tuple[Point, float, float, float]]], path: Path) -> None:
    figure = Figure((4 * len(found), 3.6), layout="constrained")
    for axes, (name, rows) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        where = [point.x for point, *_ in rows]
        axes.plot(where, [times for _, _, times, _ in rows], "o-", label="time of a step")
        axes.plot(where, [flops for *_, flops in rows], "s--", color="0.5", label="FLOPs of a step")
        axes.set_title(name)
        axes.set_xticks(
            where, [point.label.split()[0] if name != "encoder" else point.label for point, *_ in rows], rotation=30
        )
        axes.set_ylim(bottom=0)
        axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="image/mae_vit_base", help="of images")
    parser.add_argument("--batch", type=int, default=128 if DEVICE == "cuda" else 8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("scaling.png"))
    parser.add_argument("--tiny", action="store_true", help="few points, to try this")
    options = parser.parse_args()
    print(machine())
    base = SMALL_MODEL if DEVICE == "cpu" or options.tiny else []
    if options.tiny:
        base = [*base, _sized(96)]
    found = {
        name: measure(options.recipe, base, points, unit, options.rounds)
        for name, (points, unit) in curves(options.batch, tiny=options.tiny).items()
    }
    rows = [
        [name, point.label, f"{seconds * 1e3:.1f} ms", f"{times:.2f}", f"{flops:.2f}"]
        for name, measured in found.items()
        for point, seconds, times, flops in measured
    ]
    print(table(["changed", "to", "step", "time", "FLOPs"], rows))
    for name, measured in found.items():
        ends = [f"{point.label}: {times:.2f} ({flops:.2f})" for point, _, times, flops in (measured[0], measured[-1])]
        note(f"time (and FLOPs) of a step, by {name}", "; ".join(ends))
    draw(found, options.out)
    print(f"picture: {options.out}")


if __name__ == "__main__":
    main()
