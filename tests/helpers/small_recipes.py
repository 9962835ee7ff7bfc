"""A recipe that trains in a second."""

from pathlib import Path

import pytest

from mae_core.cli import main


def write_tiny_recipe(path: Path, photos: Path) -> Path:
    """A recipe file: 12 steps of 8 samples in 4 epochs, a checkpoint every second step."""
    path.write_text(
        f"""
extends: image/mae_vit_base
model:
  encoder: {{width: 32, depth: 2, heads: 2}}
  modalities:
    image:
      tokenizer: {{input_size: [24, 32], patch_size: [8, 8]}}
      decoder: {{width: 32, depth: 2, heads: 2}}
data: {{image: {{root: {photos}}}}}
schedule: {{warmup_epochs: 1}}
train: {{epochs: 4, batch_size: 8, num_workers: 0, checkpoint_steps: 2, num_pictures: 1, seed: 3}}
"""
    )
    return path


def train_tiny(folder: Path, photos: Path, *overrides: str) -> Path:
    """The folder of a run of the tiny recipe with these settings, which `mae pretrain` has finished in this process."""
    recipe = write_tiny_recipe(folder / "recipe.yaml", photos)
    with pytest.raises(SystemExit) as stop:
        main(["pretrain", str(recipe), "--out", str(folder / "run"), "schedule.warmup_epochs=0", "train.epochs=1", *overrides])
    assert not stop.value.code
    return folder / "run"
