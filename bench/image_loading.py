"""Photographs -> training crops, one core: this project's datasets beside the published recipe's pipeline of Pillow.

    python bench/image_loading.py FOLDER [--images 400] [--rounds 5] [--shorter-side 256] [--quality 90]

The peer opens each file with Pillow, converts it to RGB, takes a random resized crop (bicubic), flips it, makes a tensor of it
and normalises it. `image_folder` gives uint8 and leaves the normalisation to the device, where it is nearly free; one row
normalises on this core for comparison. Shards are made of the same files in a temporary folder, as they are and at a bounded
size. Rounds alternate, and medians of processor time of one thread are compared, so that a busy machine matters little.

The last lines say how far crops of equal boxes differ, in grey values of 0 to 255: those of the files from Pillow's, and from
these, those of the bounded size and of scaled decoding.
"""

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from random import Random

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.transforms.v2.functional import pil_to_tensor, resized_crop

from mae_core.data.make_shards import make_shards
from mae_core.data.shard_writer import open_output
from mae_core.data.stores import Selection
from mae_core.interfaces import as_sample
from mae_image.crops import RandomCrop
from mae_image.datasets import ImageFolder
from mae_image.reading import read_rgb
from mae_image.shrinking import shrink

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PEER = "Pillow, as published"
BICUBIC = transforms.InterpolationMode.BICUBIC


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shorter-side", type=int, default=256)
    parser.add_argument("--quality", type=int, default=90)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = ImageFolder((3, 224, 224), root=options.folder)
    scaled = ImageFolder((3, 224, 224), root=options.folder, scaled_decoding=True)
    number = min(options.images, len(folder))
    files = Selection(folder.store, range(number))
    encode = functools.partial(shrink, shorter_side=options.shorter_side, quality=options.quality)
    with tempfile.TemporaryDirectory() as temporary:
        make_shards(files, open_output(f"{temporary}/whole"), labels=None, shard_bytes=2**28)
        make_shards(files, open_output(f"{temporary}/small"), labels=None, shard_bytes=2**28, encode=encode)
        whole, small = (ImageFolder((3, 224, 224), root=f"{temporary}/{name}") for name in ("whole", "small"))
        sizes = [dataset.store.num_bytes() / 2**20 for dataset in (whole, small)]
        normalize = transforms.Normalize(MEAN, STD)
        pipelines: dict[str, Callable[[int], object]] = {
            PEER: functools.partial(load_as_published, folder),
            "image_folder, normalised here": lambda index: normalize(load(folder, index) / 255),
            "image_folder": functools.partial(load, folder),
            "image_folder, scaled decoding": functools.partial(load, scaled),
            f"shards, {sizes[0]:.0f} MiB": functools.partial(load, whole),
            f"shards of {options.shorter_side} px, {sizes[1]:.0f} MiB": functools.partial(load, small),
        }
        compare(pipelines, number, options.rounds)
        report_differences(folder, small, scaled, number)


def load(dataset: ImageFolder, index: int) -> object:
    return dataset.load(index, random=Random(index))


def load_as_published(folder: ImageFolder, index: int) -> object:
    with Image.open(folder.describe(index)) as image:
        return PUBLISHED(image.convert("RGB"))


PUBLISHED = transforms.Compose(
    [
        transforms.RandomResizedCrop(224, scale=(0.2, 1.0), interpolation=BICUBIC),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
)


def compare(pipelines: dict[str, Callable[[int], object]], number: int, num_rounds: int) -> None:
    costs: dict[str, list[float]] = {name: [] for name in pipelines}
    for _ in range(num_rounds + 1):
        for name, run in pipelines.items():
            start = time.process_time()
            for index in range(number):
                run(index)
            costs[name].append((time.process_time() - start) / number * 1000)
    base = statistics.median(costs[PEER][1:])
    for name, values in costs.items():
        cost = statistics.median(values[1:])  # the first round brings the files into memory
        print(f"{name:34}{cost:6.2f} ms{1000 / cost:7.0f} a second  {base / cost:5.2f} x Pillow")


def report_differences(folder: ImageFolder, small: ImageFolder, scaled: ImageFolder, number: int) -> None:
    draw = RandomCrop((3, 224, 224), scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3), flip=0, interpolation="bicubic").draw_box
    ours, bounded, decoded = [], [], []
    for index in range(number):
        image = read_rgb(folder.file(index))
        box = draw(*image.shape[1:], random=Random(index))
        with Image.open(folder.describe(index)) as opened:
            cropped = opened.convert("RGB").crop((box.left, box.top, box.left + box.width, box.top + box.height))
        pillow = pil_to_tensor(cropped.resize((224, 224), Image.Resampling.BICUBIC))
        own = crop(image, *box)
        shrunken = read_rgb(small.file(index))
        share = shrunken.shape[1] / image.shape[1], shrunken.shape[2] / image.shape[2]
        scaled_box = [round(side * share[place % 2]) for place, side in enumerate(box)]
        crops = [as_sample(dataset.load(index, random=Random(index))).x.int() for dataset in (folder, scaled)]
        decoded.append((crops[0] - crops[1]).abs().float())
        ours.append((own.int() - pillow.int()).abs().float())
        bounded.append((crop(shrunken, *scaled_box).int() - own.int()).abs().float())
    for name, values in (
        ("the files' from Pillow's", ours),
        ("the bounded size's from the files'", bounded),
        ("scaled decoding's from the files'", decoded),
    ):
        mean, largest = statistics.mean(float(v.mean()) for v in values), max(float(v.max()) for v in values)
        print(f"crops differ, {name}: {mean:.3f} on average, {largest:.0f} at most")


def crop(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    return resized_crop(image, top, left, height, width, [224, 224], interpolation=BICUBIC, antialias=True)


if __name__ == "__main__":
    main()
