"""Small runs for the benches that break them: photographs made on the fly, some of which cannot be read, and a tiny recipe."""

import contextlib
from pathlib import Path

import numpy as np
from PIL import Image

from mae_core import Config, load_config
from mae_core.training.run import train
from mae_core.training.settings import TrainSettings
from mae_core.training.world import World

NUM_PHOTOS, NUM_TORN = 64, 1
RECIPE = """
extends: image/mae_vit_base
task: {{held_out: 0.1}}
model:
  encoder: {{width: 32, depth: 2, heads: 2}}
  modalities:
    image:
      tokenizer: {{input_size: [24, 32], patch_size: [8, 8]}}
      decoder: {{width: 32, depth: 2, heads: 2}}
data: {{image: {{root: {root}}}}}
schedule: {{warmup_epochs: 1}}
train: {{epochs: {epochs}, batch_size: 8, num_workers: 0, checkpoint_steps: 5, num_pictures: 2, num_validations: 4, seed: 3}}
"""


def make_photos(folder: Path) -> Path:
    """Small JPEGs, all different; the first few end in the middle."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for index in range(NUM_PHOTOS):
        path = folder / f"photo-{index:03}.jpg"
        Image.fromarray(random.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)
        if index < NUM_TORN:
            path.write_bytes(path.read_bytes()[:400])
    return folder


def tiny_recipe(folder: Path, *, epochs: int) -> Path:
    """A recipe file in `folder`, with its photographs beside it: 7 steps an epoch, and a checkpoint every fifth step."""
    photos = make_photos(folder / "photos")
    path = folder / "tiny.yaml"
    path.write_text(RECIPE.format(root=photos, epochs=epochs))
    return path


class Silent:
    """A display that shows nothing."""

    def update(self, *, step: int, epoch: int, loss: float, samples_per_s: float) -> None: ...

    def message(self, text: str) -> None: ...


def run_silently(config: Config, folder: Path, *, resume: bool, display: Silent | None = None) -> None:
    """As `mae pretrain --out FOLDER` runs it."""
    world = World.join(TrainSettings(**config["train"]))
    train(
        config,
        folder,
        world=world,
        make_display=lambda *_, first_step: contextlib.nullcontext(display or Silent()),
        resume=resume,
    )


def load(recipe: Path, overrides: list[str]) -> Config:
    return load_config(str(recipe), overrides)
