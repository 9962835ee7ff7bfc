"""Thousands of damaged photographs, clips and recordings: each must be read or refused with words, soon, and in little memory.

    python bench/fuzz_files.py [--files 3000] [--seed 0] [--kinds image video audio]

Sound files of every format are made on the fly, and damaged: some bits turned over, a stretch of bytes replaced, cut out or
doubled, the end missing, or a header's number made huge. They are loaded as training loads them. Whatever is raised but
BadSample is a failure, as is a file that takes longer than 20 seconds. A decoder that crashes takes its process with it; in a
run that is one worker, which is replaced, and its sample with it. Here crashes are counted, and a new process goes on.
Failures and crashes are named by their numbers, which make the same files again: --only NUMBER with the same seed.
"""

import argparse
import io
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import soundfile
import torch
from measuring import machine, note, resident, table
from PIL import Image

from mae_audio.datasets import AudioFolder
from mae_core.interfaces import BadSample, Dataset
from mae_image.datasets import ImageFolder
from mae_video.avi import encode_avi
from mae_video.datasets import VideoFolder

SECONDS = 20
CRASHED = "crashed"
MIB = 2**20
DATASETS: dict[str, Callable[[str], Dataset]] = {
    "image": lambda root: ImageFolder((3, 32, 32), root=root),
    "video": lambda root: VideoFolder((3, 4, 32, 32), root=root, stride=2),
    "audio": lambda root: AudioFolder((1, 64, 32), root=root),
}


@dataclass(frozen=True)
class Outcome:
    number: int
    name: str
    result: str
    """ "read", "refused", "crashed" with a signal, or what went wrong."""
    seconds: float
    memory: int
    """Bytes that the process has afterwards."""

    @property
    def kind(self) -> str:
        """In one word."""
        return next((word for word in ("read", "refused", CRASHED) if self.result.split(":")[0] == word), "failed")


def photographs() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    pixels[:30] = np.linspace(0, 255, 80, dtype=np.uint8)[None, :, None]
    image, found = Image.fromarray(pixels), {}
    kinds = {
        "jpg": "JPEG",
        "png": "PNG",
        "webp": "WEBP",
        "tif": "TIFF",
        "bmp": "BMP",
        "gif.png": "GIF",
        "progressive.jpg": "JPEG",
    }
    for name, kind in kinds.items():
        file = io.BytesIO()
        image.save(file, kind, **({"progressive": True} if name.startswith("progressive") else {}))
        found[name] = file.getvalue()
    return found


def clips() -> dict[str, bytes]:
    frames = [np.full((48, 64, 3), 8 * number, np.uint8) for number in range(24)]
    found = {"avi": encode_avi(frames, fps=10)}
    try:
        import av
    except ImportError:
        print("without PyAV, no MP4 can be made: clips are AVI alone")
        return found
    for suffix in ("mp4", "mkv"):
        with tempfile.NamedTemporaryFile(suffix=f".{suffix}") as file:
            with av.open(file.name, "w") as container:
                stream = container.add_stream("libx264", rate=10)
                stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
                for frame in frames:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                container.mux(stream.encode(None))
            found[suffix] = Path(file.name).read_bytes()
    return found


def recordings() -> dict[str, bytes]:
    wave, found = 0.1 * np.random.default_rng(0).standard_normal(16_000), {}
    for suffix in ("wav", "flac", "ogg", "mp3"):
        file = io.BytesIO()
        soundfile.write(file, wave, 16_000, format=suffix.upper())
        found[suffix] = file.getvalue()
    return found


SOUND_FILES: dict[str, Callable[[], dict[str, bytes]]] = {"image": photographs, "video": clips, "audio": recordings}


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Not always different: a file may also be hit where nobody looks."""
    data = bytearray(content)
    place = chance.randrange(len(data)) if chance.random() < 0.5 else chance.randrange(min(len(data), 256))
    length = chance.choice((1, 4, 16, 200))
    match chance.randrange(6):
        case 0 | 1:
            for _ in range(chance.choice((1, 1, 3, 30))):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 2:
            data[place : place + length] = chance.randbytes(length)
        case 3:
            del data[place : place + length]
        case 4:
            data[place:place] = data[place : place + length]
        case _:
            data[place : place + 4] = chance.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)))
    if chance.random() < 0.2:
        del data[chance.randrange(1, len(data)) :]
    return bytes(data)


def load_all(kind: str, numbers: Iterable[int], seed: int, folder: Path, send: Any) -> None:
    """In a process of its own: the outcome of each file, as soon as it is known."""
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders print lines
    sound = SOUND_FILES[kind]()
    for number in numbers:
        chance = random.Random(f"{seed} {kind} {number}")
        name = chance.choice(sorted(sound))
        place = folder / f"{number}"
        place.mkdir()
        (place / f"file.{name}").write_bytes(damaged(sound[name], chance))
        started = time.perf_counter()
        send.send((number, name, "", 0.0, 0))  # so that a crash has a name
        signal.alarm(SECONDS)
        result = load_one(kind, place)
        signal.alarm(0)
        send.send((number, name, result, time.perf_counter() - started, resident()))


def load_one(kind: str, place: Path) -> str:
    try:
        sample = DATASETS[kind](str(place)).load(0, random=Random(0))
    except BadSample as error:
        return "refused" if "\n" not in str(error) else f"refused in several lines: {error!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    x = getattr(sample, "x", sample)
    return "read" if bool(torch.isfinite(x.float()).all()) else "read, but not finite"


def fuzz(kind: str, numbers: list[int], seed: int) -> list[Outcome]:
    """Of all files, however often a decoder crashes."""
    outcomes: list[Outcome] = []
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as temporary:
        while numbers:
            receive, send = context.Pipe(duplex=False)
            process = context.Process(target=load_all, args=(kind, numbers, seed, Path(temporary), send))
            process.start()
            send.close()
            begun = None
            try:
                while True:
                    outcome = Outcome(*receive.recv())
                    begun = outcome
                    if outcome.result:
                        outcomes.append(outcome)
                        begun = None
            except EOFError:
                process.join()
            done = {outcome.number for outcome in outcomes}
            if begun is not None:
                code = -(process.exitcode or 0)
                why = f"takes longer than {SECONDS} s" if code == signal.SIGALRM else f"{CRASHED}: {signal.Signals(code).name}"
                outcomes.append(Outcome(begun.number, begun.name, why, 0.0, 0))
                done.add(begun.number)
            elif process.exitcode:
                raise RuntimeError(f"the process that loads ended with {process.exitcode}")
            numbers = [number for number in numbers if number not in done]
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=3000, help="of each kind")
    parser.add_argument("--kinds", nargs="+", choices=list(DATASETS), default=list(DATASETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this file alone")
    options = parser.parse_args()
    print(machine(), flush=True)
    rows, failures = [], []
    for kind in options.kinds:
        numbers = list(range(options.files)) if options.only is None else [options.only]
        outcomes = fuzz(kind, numbers, options.seed)
        counts = Counter(outcome.kind for outcome in outcomes)
        failures += [outcome for outcome in outcomes if outcome.kind == "failed"]
        for outcome in outcomes:
            if outcome.kind in (CRASHED, "failed"):
                print(f"{kind} {outcome.number} ({outcome.name}): {outcome.result}", flush=True)
        slowest = max(outcome.seconds for outcome in outcomes)
        memory = [outcome.memory for outcome in outcomes if outcome.memory] or [0]
        grown = f"{memory[0] / MIB:.0f} to {max(memory) / MIB:.0f} MiB"
        rows.append([kind, counts["read"], counts["refused"], counts[CRASHED], counts["failed"], f"{slowest:.2f} s", grown])
        what = f"{len(outcomes)} damaged files, {kind}"
        note(what, f"{counts['failed']} failed, {counts[CRASHED]} crashed", beside=f"memory {grown}", goal="0 failed")
    print(table(["kind", "read", "refused", "crashed", "failed", "slowest", "memory, first to highest"], rows))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
