"""Recordings to try the modality with: `python -m mae_timeseries.make_waves FOLDER`.

Three buoys lie in a row. Waves of several lengths pass them one after the other, so that each buoy measures, some time later,
what the one before it did: what is hidden of one can be inferred from the others.
"""

import csv
import math
import sys
from pathlib import Path
from random import Random

COLUMNS = ["buoy_1", "buoy_2", "buoy_3"]
DELAY = 9  # rows from one buoy to the next
LEVELS = [2.0, 3.5, 1.0]  # of the sea at each buoy, in metres
NUM_ROWS = 1000
NUM_WAVES = 3


def make_recording(random: Random) -> list[list[str]]:
    """Heights of the sea at the buoys in metres; once in a while a buoy does not answer, and the cell is empty."""
    waves = [(random.uniform(0.3, 1), random.uniform(14, 60), random.uniform(0, 2 * math.pi)) for _ in range(NUM_WAVES)]

    def height(row: int, buoy: int) -> str:
        if random.random() < 0.001:
            return ""
        angles = ((2 * math.pi * (row - buoy * DELAY) / period + phase, size) for size, period, phase in waves)
        return f"{LEVELS[buoy] + sum(size * math.sin(angle) for angle, size in angles) + random.gauss(0, 0.05):.3f}"

    return [[height(row, buoy) for buoy in range(len(COLUMNS))] for row in range(NUM_ROWS)]


def write_recordings(folder: Path, *, num_files: int = 72) -> None:
    """Write `num_files` CSV files, the same ones every time."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(num_files):
        with (folder / f"{index:03}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *make_recording(Random(index))])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m mae_timeseries.make_waves FOLDER")
    write_recordings(Path(sys.argv[1]))
