"""What the trainer costs beside the bare step: masks, sums, decision, logs, and samples that lie in memory already.

    python bench/trainer_overhead.py [--recipe image/mae_vit_base] [--batch 8] [--steps 10] [--workers 0] [--tiny]
    python bench/trainer_overhead.py --data "{name: image_folder, root: FOLDER}" --workers auto

One run of the trainer, as `mae pretrain` makes it. After each of its steps, a bare one is taken with an equal model and
optimizer: samples to floats, masks, forward, backward, AdamW. So both see the same machine, and the ratio is that of
neighbours. The goal is at most 3% over the bare step. Checkpoints, pictures and the report are not counted.

With --data, samples are read, and the trainer then takes as many steps again without bare ones in between, during which
workers could get ahead. The bare step's share of their time is how long the device is busy.
"""

import argparse
import contextlib
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from measuring import DEVICE, machine, note, ratio, small, table, wait
from still import register_still

import mae_core
from mae_core import Config
from mae_core.interfaces import Sample
from mae_core.registry import build_component
from mae_core.runs.folder import write_config
from mae_core.training.devices import compile_blocks
from mae_core.training.interrupts import Interrupted
from mae_core.training.plan import Key
from mae_core.training.preflight import build_task
from mae_core.training.settings import TrainSettings
from mae_core.training.stream import Samples
from mae_core.training.trainer import Trainer
from mae_core.training.world import World

NUM_WARM = 2


def load(options: argparse.Namespace) -> Config:
    entry = options.recipe.partition("/")[0]
    data = options.data or f"{{name: still, count: {options.batch * (options.steps + NUM_WARM)}}}"
    overrides = [
        f"data.{entry}=null",
        f"data.{entry}={data}",
        f"train.epochs={10_000 if options.data else 1}",
        "schedule.warmup_epochs=0",
        f"train.batch_size={options.batch}",
        f"train.device_batch_size={options.batch}",
        f"train.num_workers={options.workers}",
        f"train.compile={str(options.compile).lower()}",
        "train.num_pictures=0",
    ]
    return mae_core.load_config(options.recipe, [*overrides, *(small(options.recipe) if options.tiny else [])])


def bare_step(trainer: Trainer, config: Config, *, compiled: bool) -> Callable[[], None]:
    """With a model and an optimizer that are equal to the trainer's."""
    settings = config["train"]
    model = copy.deepcopy(trainer.task.model).to(DEVICE)
    if compiled:
        compile_blocks(model)
    optimizer = build_component("optimizers", config["optimizer"], model, settings["batch_size"])
    name, generator = next(iter(trainer.task.sources)), torch.Generator().manual_seed(0)
    replaced = Samples(trainer.task.sources, 0)  # what cannot be read
    samples = [replaced[Key(name, 0, index)].samples[name].x for index in range(settings["batch_size"])]
    raw = {name: Sample(torch.cat(samples).to(DEVICE))}

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            loss = model(model.backbone.normalize(raw), generator=generator).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


class TakesTurns:
    """The display of a run, which takes a bare step after each of the trainer's, and notes the time of both.

    With `alone`, it then watches as many steps of the trainer alone, and ends the run.
    """

    def __init__(self, bare: Callable[[], None], num_steps: int, *, alone: bool) -> None:
        self.bare, self.num_steps, self.alone = bare, num_steps, alone
        self.of_trainer: list[float] = []
        self.of_bare: list[float] = []
        self.of_trainer_alone: list[float] = []
        self.left = time.perf_counter()

    def update(self, *, step: int, epoch: int, loss: float, samples_per_s: float) -> None:
        wait()
        taken = time.perf_counter() - self.left
        if step <= NUM_WARM:
            self.bare()
        elif step <= NUM_WARM + self.num_steps:
            self.of_trainer.append(taken)
            started = time.perf_counter()
            self.bare()
            wait()
            self.of_bare.append(time.perf_counter() - started)
        else:
            self.of_trainer_alone.append(taken)
        if self.alone and len(self.of_trainer_alone) == self.num_steps:
            raise BrokenPipeError  # nobody watches any more, which ends a run
        self.left = time.perf_counter()

    def message(self, text: str) -> None: ...


def measure(config: Config, folder: Path, options: argparse.Namespace) -> TakesTurns:
    task = build_task(config)
    task.open_data()
    write_config(folder, config)
    trainer = Trainer(task, config, folder, world=World.join(TrainSettings(**config["train"])))
    bare = bare_step(trainer, config, compiled=options.compile)
    turns = TakesTurns(bare, options.steps, alone=bool(options.data))
    with contextlib.suppress(Interrupted):
        trainer.train(lambda *_, first_step: contextlib.nullcontext(turns))
    return turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="image/mae_vit_base")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--workers", default="0")
    parser.add_argument("--data", default="", metavar="SECTION", help="a section of a recipe, in place of samples in memory")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, to try this; its share says nothing of real ones")
    options = parser.parse_args()
    print(machine())
    register_still()
    with tempfile.TemporaryDirectory() as temporary:
        turns = measure(load(options), Path(temporary), options)
    middle, low, high = ratio(turns.of_bare, turns.of_trainer)
    over, spread = f"{middle - 1:+.1%}", f"{low - 1:+.1%} to {high - 1:+.1%}"
    bare = statistics.median(turns.of_bare)
    rows = [["bare step", f"{bare * 1e3:.1f} ms", ""]]
    rows.append(["step of the trainer", f"{statistics.median(turns.of_trainer) * 1e3:.1f} ms", f"{over} ({spread})"])
    what = f"{options.recipe}, batch {options.batch}"
    if options.data:
        alone = statistics.fmean(turns.of_trainer_alone[len(turns.of_trainer_alone) // 4 :])  # after what was loaded ahead
        rows.append(["step of the trainer alone", f"{alone * 1e3:.1f} ms", f"busy {bare / alone:.0%}"])
        note(f"{what}: the device is busy while it trains on {options.data}", f"{bare / alone:.0%}", goal="90%")
    else:
        note(f"{what}: the trainer over the bare step", over, beside=spread, goal="at most 3%")
    print(table([what, "time", "over the bare step"], rows))


if __name__ == "__main__":
    main()
