"""Video files -> clips of 16 frames, one core: `video_folder`, by each reader, and shards beside decord used plainly.

    python bench/video_loading.py FOLDER [--clips 40] [--rounds 3] [--size 224]

The peer opens a file with decord, reads 16 frames 4 apart from a random place, and crops and resizes each with Pillow, as the
published pipeline of VideoMAE does; one more row is its decoding alone. `video_folder` takes the same frames of the same files.
Files that one of the installed readers cannot read are left out. Rounds alternate, and medians of processor time are compared,
so that a busy machine matters little.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from random import Random

import decord
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mae_core.data.make_shards import make_shards
from mae_core.data.shard_writer import open_output
from mae_core.data.stores import Selection
from mae_core.interfaces import BadSample
from mae_video.datasets import MULTI_SCALE, VideoFolder
from mae_video.reading import MODULES

NUM_FRAMES, STRIDE = 16, 4
PEER = "decord and Pillow"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--clips", type=int, default=40, help="a round and variant")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape = 3, NUM_FRAMES, options.size, options.size
    readers = [name for name, module in MODULES.items() if find_spec(module)]
    folders = {name: VideoFolder(shape, root=options.folder, stride=STRIDE, reader=name) for name in readers}
    folder = folders[readers[0]]
    chosen = [index for index in range(len(folder)) if all(is_readable(other, index) for other in folders.values())]
    print(f"{len(chosen)} of {len(folder)} files can be read")
    paths = [folder.describe(index) for index in chosen]
    with tempfile.TemporaryDirectory() as temporary:
        make_shards(Selection(folder.store, chosen), open_output(temporary), labels=None, shard_bytes=2**28)
        shards = VideoFolder(shape, root=temporary, stride=STRIDE)
        variants: dict[str, Callable[[int], object]] = {
            PEER: lambda index: load_plainly(paths[index], options.size, Random(index)),
            "decord alone, no crops": lambda index: decode_plainly(paths[index], Random(index)),
            **{f"video_folder, {name}": reads(other, chosen) for name, other in folders.items()},
            f"shards, {readers[0]}": lambda index: shards.load(index, random=Random(index)),
        }
        compare(variants, len(chosen), options.clips, options.rounds)


def reads(folder: VideoFolder, chosen: Sequence[int]) -> Callable[[int], object]:
    return lambda index: folder.load(chosen[index], random=Random(index))


def is_readable(folder: VideoFolder, index: int) -> bool:
    try:
        folder.load(index, random=Random(0))
    except BadSample:
        return False
    return True


def decode_plainly(path: str, random: Random) -> np.ndarray:
    video = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
    first = random.randrange(max(1, len(video) - NUM_FRAMES * STRIDE + 1))
    wanted = [min(first + STRIDE * frame, len(video) - 1) for frame in range(NUM_FRAMES)]
    return video.get_batch(wanted).asnumpy()


def load_plainly(path: str, size: int, random: Random) -> Tensor:
    frames = [Image.fromarray(frame) for frame in decode_plainly(path, random)]
    width, height = frames[0].size
    sides = [round(min(width, height) * random.choice(MULTI_SCALE)) for _ in range(2)]
    left, top = random.randint(0, width - sides[0]), random.randint(0, height - sides[1])
    box = left, top, left + sides[0], top + sides[1]
    crops = [np.asarray(frame.crop(box).resize((size, size), Image.Resampling.BILINEAR)) for frame in frames]
    return torch.from_numpy(np.stack(crops)).permute(3, 0, 1, 2).float().div(255)


def compare(variants: dict[str, Callable[[int], object]], num_files: int, num_clips: int, num_rounds: int) -> None:
    costs: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(num_rounds):
        for name, run in variants.items():
            start = time.process_time()
            for clip in range(num_clips):
                run(clip % num_files)
            costs[name].append((time.process_time() - start) / num_clips * 1000)
    base = statistics.median(costs[PEER])
    for name, values in costs.items():
        cost = statistics.median(values)
        print(f"{name:26}{cost:8.1f} ms{1000 / cost:8.1f} clips a second  {base / cost:5.2f} x {PEER}")


if __name__ == "__main__":
    main()
