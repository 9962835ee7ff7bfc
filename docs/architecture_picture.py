"""Draws docs/images/architecture.png: the way of a sample through the model. Run it with `make architecture-picture`."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

PATH = Path(__file__).parent / "images" / "architecture.png"
KNOWS, CORE, TRAIN = "#fde3c8", "#d9e6f6", "#e4efda"
BOXES = {
    "dataset": (0, 3.1, "Dataset.load", "a tensor, or a Sample\nwith extras", KNOWS),
    "tokenizer": (1, 3.1, "Tokenizer", "samples -> patches\n(B, N, P) on a grid", KNOWS),
    "masker": (2, 4.3, "Masker", "grid -> contexts, queries\nand what counts", CORE),
    "encoder": (2, 3.1, "Encoder", "asks Visible for what\nit needs -> Latent", CORE),
    "decoder": (3, 3.1, "Decoder", "Latent and query ids\n-> (rows, M, T)", CORE),
    "target": (3, 1.7, "Target", "prepare once, then\nthe error of each", KNOWS),
    "teacher": (2, 1.7, "Teacher", "moves after each step\nthat was taken", CORE),
    "loss": (4, 2.4, "Output", "sum of weight x error\n/ sum of weights", CORE),
    "trainer": (4, 0.5, "Trainer and Task", "add up micro-batches,\ndecide once, step", TRAIN),
}
ARROWS = [
    ("dataset", "tokenizer"),
    ("tokenizer", "encoder"),
    ("masker", "encoder"),
    ("encoder", "decoder"),
    ("teacher", "target"),
    ("decoder", "loss"),
    ("target", "loss"),
    ("loss", "trainer"),
]
COLUMN, WIDTH, HEIGHT = 2.75, 2.15, 0.86


def edge(name: str, towards: str) -> tuple[float, float]:
    """Where an arrow leaves a box, on the side that faces the other one."""
    (column, y, *_), (other, other_y, *_) = BOXES[name], BOXES[towards]
    x = column * COLUMN
    if column == other:
        return x, y + (HEIGHT / 2 if other_y > y else -HEIGHT / 2)
    return x + (WIDTH / 2 if other > column else -WIDTH / 2), y


def main() -> None:
    """Write the picture."""
    figure = Figure((13, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.add_patch(FancyBboxPatch((1.5, 2.5), 5.2, 1.2, boxstyle="round,pad=0.05", fill=False, linestyle="--", edgecolor="0.5"))
    axes.text(1.52, 3.78, "Backbone: what is kept after pre-training", fontsize=9, color="0.35")
    for column, y, title, text, color in BOXES.values():
        corner = (column * COLUMN - WIDTH / 2, y - HEIGHT / 2)
        axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle="round,pad=0.02", facecolor=color, edgecolor="0.3"))
        axes.text(column * COLUMN, y + 0.24, title, ha="center", va="center", fontsize=11, weight="bold")
        axes.text(column * COLUMN, y - 0.15, text, ha="center", va="center", fontsize=9)
    for start, end in ARROWS:
        axes.add_patch(
            FancyArrowPatch(
                edge(start, end), edge(end, start), arrowstyle="-|>", mutation_scale=13, color="0.3", shrinkA=2, shrinkB=2
            )
        )
    bent = {"arrowstyle": "-|>", "mutation_scale": 13, "color": "0.3"}
    below, right = (COLUMN, 3.1 - HEIGHT / 2), (2 * COLUMN + WIDTH / 2, 4.3)
    floor = 0.85
    axes.plot([COLUMN, COLUMN, 3 * COLUMN], [below[1], floor, floor], color="0.3", linewidth=1)
    axes.add_patch(FancyArrowPatch((3 * COLUMN, floor), (3 * COLUMN, 1.7 - HEIGHT / 2), shrinkA=0, **bent))
    axes.add_patch(
        FancyArrowPatch(right, (3 * COLUMN, 3.1 + HEIGHT / 2), connectionstyle="angle,angleA=0,angleB=90,rad=8", **bent)
    )
    for row, (color, text) in enumerate(
        ((KNOWS, "knows the modality"), (CORE, "knows grids and tokens only"), (TRAIN, "training"))
    ):
        axes.add_patch(
            FancyBboxPatch((-1.05, 1.45 - 0.4 * row), 0.22, 0.18, boxstyle="round,pad=0.02", facecolor=color, edgecolor="0.3")
        )
        axes.text(-0.7, 1.54 - 0.4 * row, text, va="center", fontsize=9)
    axes.set_xlim(-1.3, 4 * COLUMN + 1.3)
    axes.set_ylim(-0.1, 4.9)
    axes.axis("off")
    figure.savefig(PATH, dpi=110)


if __name__ == "__main__":
    main()
