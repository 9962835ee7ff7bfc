"""Images/s and memory of a pre-training step, ours beside Hugging Face's ViTMAE (if transformers is installed), in one run.

    python bench/train_step.py [base|large|huge] [--batch 16] [--rounds 5] [--compile]

Both take turns, and medians are compared, since machines are never quiet. A CUDA device is used where there is one, in bf16.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import mae_core
from mae_core.parts.optimizers import adamw
from mae_core.training.devices import compile_blocks

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Step = Callable[[torch.Tensor], None]


def ours(size: str, batch: int, *, compiled: bool) -> Step:
    model = mae_core.build_model(mae_core.load_config(f"image/mae_vit_{size}")).to(DEVICE)
    if compiled:
        compile_blocks(model)
    optimizer = adamw(model, batch, base_lr=1.5e-4)
    generator = torch.Generator().manual_seed(0)

    def step(x: torch.Tensor) -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            loss = model({"image": x}, generator=generator).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def hugging_face(size: str, *, compiled: bool) -> Step:
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    width, depth, heads, patch = {"base": (768, 12, 12, 16), "large": (1024, 24, 16, 16), "huge": (1280, 32, 16, 14)}[size]
    config = ViTMAEConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        patch_size=patch,
        norm_pix_loss=True,
    )
    model = ViTMAEForPreTraining(config).to(DEVICE).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.05)
    forward = torch.compile(model) if compiled else model

    def step(x: torch.Tensor) -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            loss = forward(x).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(steps: dict[str, Step], x: torch.Tensor, rounds: int) -> dict[str, list[float]]:
    """Seconds of each step, taking turns after two rounds of warming up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 2):
        for name, step in steps.items():
            started = time.perf_counter()
            step(x)
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def peak_memory(step: Step, x: torch.Tensor) -> str:
    if DEVICE == "cpu":
        return "-"
    torch.cuda.reset_peak_memory_stats()
    step(x)
    return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", nargs="?", choices=("base", "large", "huge"), default="base")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    x = torch.randn(options.batch, 3, 224, 224, device=DEVICE)
    steps = {"mae": ours(options.size, options.batch, compiled=options.compile)}
    try:
        steps["transformers"] = hugging_face(options.size, compiled=options.compile)
    except ImportError:
        print("transformers is not installed: ours alone")
    seconds = measure(steps, x, options.rounds)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"ViT-{options.size}, batch {options.batch}, {DEVICE}{', compiled' if options.compile else ''}")
    for name, median in medians.items():
        ratio = medians["transformers"] / median if "transformers" in medians else 1.0
        speed = options.batch / median
        print(f"{name:14} {speed:8.2f} images/s   {ratio:5.2f}x   peak {peak_memory(steps[name], x)}")


if __name__ == "__main__":
    main()
