"""Reading files in random order, without decoding: a folder, shards, memory and Parquet, beside plain open() of each file.

    python bench/shards.py FOLDER [--files 400] [--rounds 5] [--suffixes .jpg .jpeg]

The files of FOLDER are packed into a temporary folder as shards, and as a Parquet file with row groups of 100, as Hugging Face
publishes data sets. One row group is kept at a time, as it is with data that are much larger than memory. Every round reads
every file once, in the same random order. Medians of processor time: the disk's own time is not in them, for after the first
round all is in the page cache. `start` is the time until the first file can be read.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable

import pyarrow as pa
from pyarrow import parquet

from mae_core.data import parquet_store
from mae_core.data.files import read_content
from mae_core.data.find_store import find_store
from mae_core.data.make_shards import make_shards
from mae_core.data.shard_writer import open_output
from mae_core.data.stores import MemoryStore, Selection, Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--suffixes", nargs="+", default=[".jpg", ".jpeg"])
    options = parser.parse_args()

    def find(root: str) -> Store:
        return find_store(root, suffixes=options.suffixes, key="FOLDER", what="files")

    whole = find(options.folder)
    number = min(options.files, len(whole))
    files = Selection(whole, range(number))
    with tempfile.TemporaryDirectory() as temporary:
        start = time.perf_counter()
        make_shards(files, open_output(f"{temporary}/shards"), labels=None, shard_bytes=2**28)
        print(f"{number} files, {files.num_bytes() / 2**20:.1f} MiB, packed in {time.perf_counter() - start:.2f} s")
        contents = [{"bytes": read_content(files.file(index)), "path": None} for index in range(number)]
        parquet.write_table(pa.table({"file": contents}), f"{temporary}/files.parquet", row_group_size=100)
        parquet_store.MAX_KEPT = 0  # as with data that are far larger than what is kept
        paths = [files.describe(index) for index in range(number)]
        stores = {
            "folder": lambda: find(options.folder),
            "shards": lambda: find(f"{temporary}/shards"),
            "shards, in memory": lambda: MemoryStore(find(f"{temporary}/shards"), key="in_memory"),
            "Parquet": lambda: find(f"{temporary}/files.parquet"),
        }
        readers: dict[str, Callable[[int], object]] = {"open() and read()": lambda index: read_plainly(paths[index])}
        starts = {"open() and read()": 0.0}
        for name, open_store in stores.items():
            began = time.perf_counter()
            store = open_store()
            starts[name] = time.perf_counter() - began
            readers[name] = lambda index, store=store: read_content(store.file(index))
        compare(readers, starts, number, options.rounds)


def read_plainly(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def compare(readers: dict[str, Callable[[int], object]], starts: dict[str, float], number: int, num_rounds: int) -> None:
    order = random.Random(0).sample(range(number), number)
    costs: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(num_rounds + 1):
        for name, read in readers.items():
            began = time.process_time()
            for index in order:
                read(index)
            costs[name].append((time.process_time() - began) / number * 1e6)
    base = statistics.median(costs["open() and read()"][1:])
    print(f"{'':20}{'us a file':>12}{'start, ms':>12}{'to open()':>12}   ({os.cpu_count()} cores)")
    for name, values in costs.items():
        cost = statistics.median(values[1:])  # the first round brings the files into memory
        print(f"{name:20}{cost:12.1f}{1000 * starts[name]:12.1f}{base / cost:11.2f}x")


if __name__ == "__main__":
    main()
