"""Memory of one process that reads clips from many files, and clips per second of processor time.

    python bench/video_memory.py FOLDER [--clips 2000] [--reader decord] [--size 224]

Clips are loaded as training loads them: a random place, 16 frames 4 apart, a multi-scale crop. Files that cannot be read are
counted. One line each tenth of the way: clips so far, resident memory in MiB. Growth is measured from the first tenth on, after
decoders and allocator have warmed up. Processor time rather than the clock's, so that a busy machine does not matter.
"""

import argparse
import os
import time
from collections.abc import Callable
from random import Random
from typing import get_args

import torch

from mae_core.interfaces import BadSample
from mae_video.datasets import VideoFolder
from mae_video.reading import Reader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--reader", choices=get_args(Reader), default="auto")
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = VideoFolder((3, 16, options.size, options.size), root=options.folder, reader=options.reader)

    print(f"{options.reader}: {len(folder)} files, {options.clips} clips", flush=True)
    curve, num_bad, start = [], 0, time.process_time()
    for number in range(options.clips):
        num_bad += not readable(lambda number=number: folder.load(number % len(folder), random=Random(number)))
        if (number + 1) % max(1, options.clips // 10) == 0:
            curve.append(resident_mib())
            print(f"{number + 1:8} clips {curve[-1]:8.1f} MiB", flush=True)
    seconds = time.process_time() - start
    print(f"growth from the first tenth to the last: {curve[-1] - curve[0]:+.1f} MiB; {num_bad} could not be read")
    print(f"{options.clips / seconds:.1f} clips a second of processor time")


def readable(load: Callable[[], object]) -> bool:
    try:
        load()
    except BadSample:
        return False
    return True


def resident_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
