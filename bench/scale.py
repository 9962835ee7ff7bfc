"""What training at scale takes, on paper and by simulation: prints the tables of docs/scale.md.

    python bench/scale.py

Nothing is measured here: every figure follows from what bench/scale_model.py assumes.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import scale_model as assumed
from scale_model import (
    CLIPS,
    CLIPS_IN_VIEWS,
    GPUS,
    NETWORK,
    PHOTOS,
    SMALL_PHOTOS,
    WORKERS,
    WORKS,
    Work,
    between_failures,
    bound,
    duration,
    exchange,
    goodput,
    parts_of_step,
    young_daly,
)

MIB, GIB = 2**20, 2**30


def table(*rows: Sequence[str]) -> list[str]:
    """Markdown; the first row is the header."""
    first, *others = (f"| {' | '.join(row)} |" for row in rows)
    return [first, f"|{'---|' * len(rows[0])}", *others]


def amount(number: float, unit: str = "B") -> str:
    """With three digits, such as 1.56 TB."""
    power = max(0, min(5, int(math.log10(max(number, 1)) // 3)))
    scaled = number / 1000**power
    digits = max(0, 2 - int(math.log10(max(scaled, 1))))
    return f"{scaled:,.{digits}f} {['', 'k', 'M', 'G', 'T', 'P'][power]}{unit}"


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.1f}"


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f}%"


def by_work(works: Sequence[Work]) -> Callable[[str, Callable[[Work], str]], list[str]]:
    """Makes rows with a column for each work."""
    return lambda what, of: [what, *(of(work) for work in works)]


def assumptions() -> list[str]:
    """What a sample is assumed to cost."""
    row = by_work(WORKS)
    return table(
        row("", lambda work: work.what),
        row("recipe", lambda work: f"`{work.recipe}`"),
        row("`train.batch_size`", lambda work: f"{work.batch:,}"),
        row("`num_views`", lambda work: str(work.views)),
        row("passes", lambda work: str(work.passes)),
        row("FLOPs of a sample, of training", lambda work: amount(work.flops, "FLOP")),
        row("weights, and gradients as many", lambda work: amount(work.weights)),
        row("checkpoint", lambda work: amount(work.state)),
        row("bytes of a file", lambda work: amount(work.stored)),
        row("one core reads, decodes and crops a file in", lambda work: f"{milliseconds(work.reading)} ms"),
        row("one core draws and weighs the masks of a sample in", lambda work: f"{1e6 * work.masking:.1f} µs"),
    )


def data() -> list[str]:
    """Bytes and files."""
    line = len(json.dumps({"url": "0000000.tar", "nsamples": 178, "filesize": 268435456}, indent=1)) + 8
    row = by_work((PHOTOS, SMALL_PHOTOS, CLIPS))

    def shards(work: Work, size: float) -> float:
        return work.samples * work.stored / size

    return table(
        row("", lambda work: work.what),
        row("samples, and files in a folder", lambda work: f"{work.samples:,}"),
        row("bytes", lambda work: amount(work.samples * work.stored)),
        row("shards of 256 MiB (the default)", lambda work: f"{shards(work, 256 * MIB):,.0f}"),
        row("their list, `shards.json`", lambda work: amount(shards(work, 256 * MIB) * line)),
        row("shards of 10 GiB (`--shard-size 10240`)", lambda work: f"{shards(work, 10 * GIB):,.0f}"),
        row("the index, `index.safetensors`", lambda work: amount(work.samples * assumed.INDEX)),
    )


def demand() -> list[str]:
    """Reads of GPUs that never wait."""
    rows = [["", "samples/s of a GPU", "cores of a GPU", *(f"{gpus:,} GPUs" for gpus in GPUS)]]
    for work in WORKS:
        read = [f"{gpus * work.loads:,.0f} files/s, {amount(gpus * work.loads * work.stored)}/s" for gpus in GPUS]
        rows.append([work.what, f"{work.rate:,.0f}", f"{work.loads * work.reading:.1f}", *read])
    return table(*rows)


def talk() -> list[str]:
    """What GPUs tell each other."""
    slow = NETWORK / 32
    header = [
        "",
        "GPUs",
        "a GPU sends in a step",
        "`ddp`, 400 Gbit/s a GPU",
        "`ddp`, 100 Gbit/s a machine",
        "`fsdp`, 400 Gbit/s",
    ]
    rows = [[*header, "requests/s to the store"]]
    for work in (PHOTOS, CLIPS):
        for gpus in GPUS:
            sent = amount(2 * (gpus - 1) / gpus * work.weights)
            fast, fsdp = exchange(work, gpus), 1.5 * exchange(work, gpus)
            times = [f"{milliseconds(seconds)} ms" for seconds in (fast, exchange(work, gpus, slow), fsdp)]
            rows.append([work.what, f"{gpus:,}", sent, *times, f"{gpus * assumed.REQUESTS / assumed.BEAT:,.0f}"])
    return table(*rows)


def steps() -> list[str]:
    """What a step waits for."""
    names = list(parts_of_step(PHOTOS, GPUS[0]))
    rows = [["ms of a step", "GPUs", *names, "step", "GPU busy", "hours of the run"]]
    for work in (SMALL_PHOTOS, CLIPS, CLIPS_IN_VIEWS):
        for gpus in GPUS:
            parts = parts_of_step(work, gpus)
            seconds, longest = duration(parts), bound(parts)
            hours = work.samples * work.passes / work.batch * seconds / 3600
            times = [f"**{milliseconds(parts[name])}**" if name == longest else milliseconds(parts[name]) for name in names]
            busy = percent(parts["model"] / seconds)
            rows.append([work.what, f"{gpus:,}", *times, milliseconds(seconds), busy, f"{hours:,.1f}"])
    return table(*rows)


def settings() -> list[str]:
    """What one change does to 256 GPUs."""
    large, beside, slow = {"batch": 16384}, {"masking": 0.0}, NETWORK / 32
    cases: list[tuple[str, Work, float]] = [
        ("ImageNet-22k, shards of 256 pixels", SMALL_PHOTOS, NETWORK),
        ("with `train.batch_size=16384`", replace(SMALL_PHOTOS, **large), NETWORK),
        ("without the time of masks, which no setting reaches", replace(SMALL_PHOTOS, **beside), NETWORK),
        ("without it, and with `train.batch_size=16384`", replace(SMALL_PHOTOS, **large, **beside), NETWORK),
        ("with 100 Gbit/s for each machine", SMALL_PHOTOS, slow),
        ("with 100 Gbit/s, and `train.batch_size=16384`", replace(SMALL_PHOTOS, **large), slow),
        ("a billion clips", CLIPS, NETWORK),
        ("without the time of masks", replace(CLIPS, **beside), NETWORK),
        ("with `data.video.num_views=4 train.batch_size=512`", CLIPS_IN_VIEWS, NETWORK),
        ("both", replace(CLIPS_IN_VIEWS, **beside), NETWORK),
    ]
    rows = [["256 GPUs", "samples/s", "GPU busy", "what takes longest"]]
    for what, work, network in cases:
        parts = parts_of_step(work, 256, network=network)
        seconds = duration(parts)
        rate = work.batch * work.views / seconds
        rows.append([what, f"{rate:,.0f}", percent(parts["model"] / seconds), bound(parts)])
    return table(*rows)


def memory() -> list[str]:
    """Of a machine and its processes."""
    works, each = (PHOTOS, CLIPS), assumed.PER_MACHINE
    row = by_work(works)

    def samples(num_bytes: int) -> Callable[[Work], str]:
        return lambda work: amount(work.samples * num_bytes)

    return table(
        ["a machine with 8 processes", *(work.what for work in works)],
        row("index on a disk: mapped, and shared", samples(assumed.INDEX)),
        row("index at an address without `cache`", samples(each * assumed.INDEX)),
        row("checking the index, for a moment", samples(each * assumed.CHECKING)),
        row("list of a folder instead of shards, for a moment", samples(each * assumed.LISTING)),
        row("order of a pass", samples(each * assumed.ORDER * assumed.KEPT_ORDERS)),
        row("samples that wait for the GPUs", lambda work: amount(each * WORKERS * 2 * work.at_once * work.loaded)),
        row("checkpoint, when a run is resumed", lambda work: amount(each * work.state)),
        ["shuffling a pass, one core", *(f"{work.samples * assumed.SHUFFLING:.1f} s" for work in works)],
    )


def checkpoints() -> list[str]:
    """Time and bytes of checkpoints, and failures."""
    rows = [
        ["GPUs", "copied, then written by one process (`ddp`)", "by all (`fsdp`)", "read by all to resume", "failures a day"]
    ]
    state = PHOTOS.state
    for gpus in GPUS:
        alone = f"{state / assumed.COPYING:.1f} s, {state / assumed.WRITING:.1f} s"
        written = state / min(assumed.STORAGE, gpus * assumed.WRITING)
        together = f"{state / gpus / assumed.COPYING:.2f} s, {written:.2f} s"
        reading = f"{amount(gpus * state)} in {gpus * state / assumed.STORAGE:.1f} s"
        rows.append([f"{gpus:,}", alone, together, reading, f"{86400 / between_failures(gpus):.2f}"])
    return table(*rows)


def failures() -> list[str]:
    """Goodput, simulated."""
    auto, shown = assumed.AUTO, (1, assumed.AUTO, 80, 320)
    wait, write = PHOTOS.state / assumed.COPYING, PHOTOS.state / assumed.WRITING
    header = ["GPUs", *(f"every {minutes} min" for minutes in shown), "best of those tried", "Young and Daly"]
    rows = [[*header, f"every {auto} min, restarted by hand"]]
    for gpus in GPUS:
        mean, restart = between_failures(gpus), assumed.RESTART + gpus * PHOTOS.state / assumed.STORAGE
        found = {m: goodput(60 * m, wait=wait, write=write, restart=restart, mean=mean) for m in assumed.INTERVALS}
        best = max(found, key=lambda minutes: found[minutes])
        by_hand = goodput(60 * auto, wait=wait, write=write, restart=assumed.BY_HAND, mean=mean)
        shares = [percent(found[minutes], 2) for minutes in shown]
        estimate = f"{young_daly(wait, mean) / 60:.0f} min"
        rows.append([f"{gpus:,}", *shares, f"{best} min: {percent(found[best], 2)}", estimate, percent(by_hand, 1)])
    return table(*rows)


def limits(work: Work) -> Iterator[tuple[float, str, str]]:
    """GPUs from which on something is the limit, what it is, and what moves it."""
    rows = work.batch * work.views
    masks = 1 / (work.rate * (work.masking + assumed.KEY / work.views))
    gradients = rows / work.rate * assumed.BACKWARD / exchange(work, 1024)
    if work.loads * work.reading > WORKERS:
        needed = f"{WORKERS} cores decode for a GPU that could use {work.loads * work.reading:.0f}"
        yield 1, needed, "clips of fewer pixels; `data.video.num_views`; more cores for each GPU"
    smaller = "clips of fewer pixels; `data.video.num_views`" if work is CLIPS else "`cache`, where it holds all shards"
    elsewhere = "a file system that all machines share" if work is CLIPS else "`cache`, where it holds all shards"
    yield assumed.S3 / work.loads, f"{assumed.S3:,} reads/s of one prefix, where shards are read from S3", elsewhere
    yield (
        masks,
        "masks of the whole batch, which each process draws, take as long as the model",
        "no setting; perhaps `OMP_NUM_THREADS`",
    )
    yield gradients, "gradients take longer than the backward pass that hides them", "`train.batch_size`"
    yield math.sqrt(rows / work.rate / assumed.COPY), "deciding takes as long as the model", "`train.batch_size`"
    yield assumed.STORAGE / (work.loads * work.stored), f"{amount(assumed.STORAGE)}/s of the storage", smaller
    yield assumed.SOCKETS / 2, f"{assumed.SOCKETS:,} open files where all processes meet", "`ulimit -n`"
    yield assumed.GPU_HOURS / 24, "a failure every day", "`torchrun --max-restarts`, `train.checkpoint_steps`"


def breaks(work: Work) -> list[str]:
    """What breaks first."""
    found = [["any" if gpus <= 1 else f"{gpus:,.0f}", what, how] for gpus, what, how in sorted(limits(work))]
    return table(["from so many GPUs on", "what breaks", "what moves it"], *found)


TABLES: dict[str, Callable[[], list[str]]] = {
    "assumptions": assumptions,
    "data": data,
    "demand": demand,
    "steps": steps,
    "settings": settings,
    "talk": talk,
    "memory": memory,
    "checkpoints": checkpoints,
    "failures": failures,
    "photographs": lambda: breaks(SMALL_PHOTOS),
    "clips": lambda: breaks(CLIPS),
}


def main() -> None:
    """Print all tables, each below its name."""
    for name, make in TABLES.items():
        print(f"## {name}", "", *make(), "", sep="\n")


if __name__ == "__main__":
    main()
