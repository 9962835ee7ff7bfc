"""CIFAR-10 from pre-training to the table of docs/results.md, with the commands that a user would type.

    python bench/cifar10.py CIFAR10 runs/cifar10 [--model cifar10_small]

CIFAR10 is a folder with train/ and test/, each with one folder for each class. What is finished is not run again, and what was
interrupted goes on, so that the script can be stopped and started at will. It ends with `mae report` over everything.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from mae_core.build import build_backbone
from mae_core.config import load_config
from mae_core.runs.backbone import save_backbone
from mae_core.runs.results import RESULTS


def main() -> None:
    options = _options()
    out, recipe = options.out, f"image/{options.model}"
    data, more = [f"data.image.root={options.data / 'train'}"], options.override
    pretrained, untrained = out / "pretrained", out / "untrained" / "encoder.safetensors"
    _train(["pretrain", recipe, *data, *more], pretrained)
    if not untrained.exists():
        torch.manual_seed(0)
        save_backbone(build_backbone(load_config(recipe)), load_config(recipe), untrained)
    for name, checkpoint in {"pretrained": pretrained, "untrained": untrained}.items():
        for verb in (["knn"], ["probe", "--fast"]):
            _measure([verb[0], str(checkpoint), str(options.data), *verb[1:]], out / f"{verb[0]}-{name}")
    tuned = ["--recipe", f"{recipe}_finetune"]
    for blocks in ("1", "all"):
        words = ["finetune", str(pretrained), str(options.data), f"task.tuned={blocks}", *options.finetune, *tuned]
        _train(words, out / f"finetune-{blocks}")
    held_out = f"task.validation.root={options.data / 'test'}"
    _train(["pretrain", f"{recipe}_scratch", *data, held_out, *options.finetune], out / "scratch")
    _mae(["report", *(str(path.parent) for path in sorted(out.glob(f"*/{RESULTS}")))])


def _train(words: Sequence[str], folder: Path) -> None:
    """A training, unless it is finished; it goes on where it was interrupted."""
    if not (folder / "encoder.safetensors").exists():
        _mae([*words, "--out", str(folder), *(["--resume"] if (folder / "config.yaml").exists() else [])])


def _measure(words: Sequence[str], folder: Path) -> None:
    """A measurement without training, unless it is there."""
    if not (folder / RESULTS).exists():
        _mae([*words, "--out", str(folder)])


def _mae(words: Sequence[str]) -> None:
    print("$ mae", *words, flush=True)
    subprocess.run([sys.executable, "-m", "mae_core.cli", *words], check=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="cifar10_small", help="a recipe of configs/image/ with its _finetune and _scratch")
    parser.add_argument("--override", nargs="*", default=[], help="KEY=VALUE for the pre-training")
    parser.add_argument("--finetune", nargs="*", default=[], help="KEY=VALUE for what is trained with labels")
    return parser.parse_args()


if __name__ == "__main__":
    main()
