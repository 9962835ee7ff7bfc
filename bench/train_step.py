"""Samples/s and memory of a pre-training step: ours, Hugging Face's, and the plain one of plain.py, in one run.

    python bench/train_step.py [vit-b vit-l vit-h videomae-b audiomae-b] [--batch 8] [--rounds 5] [--compile] [--tiny]

All have the same weights, batch and fused AdamW, and hide equally many patches; that the loss is the same is checked first.
They take turns, and ratios are those of each round, because machines are never quiet. A CUDA device is used where there is
one, in bf16. Memory is the peak of two steps in a process of their own, beyond what importing takes; on CUDA it is the GPU's.
A peer that cannot do a model (or is not installed) is left out.

Model FLOPs are those of `mae cost`: what the method needs, whatever an implementation does beside it. On a GPU whose peak is
known, their share of the peak is the model FLOPs utilisation.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from measuring import DEVICE, in_own_process, machine, note, peak_above, ratio, small, table, take_turns
from plain import PlainMAE
from torch import Tensor, nn

import mae_core
from mae_core import Config
from mae_core.cost.estimate import cost
from mae_core.cost.run import HARDWARE, Hardware
from mae_core.layouts.published import files_beside
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_core.parts.optimizers import weight_decay_groups
from mae_core.training.devices import compile_blocks

RECIPES = {
    "vit-b": "image/mae_vit_base",
    "vit-l": "image/mae_vit_large",
    "vit-h": "image/mae_vit_huge",
    "videomae-b": "video/videomae_base",
    "audiomae-b": "audio/audiomae_base",
}
LAYOUTS = {"image": "hf-vitmae", "video": "hf-videomae"}
UNFUSED = "plain, default AdamW"
"""The plain one with AdamW as torch has it by default, which is not fused."""
PEERS = ("mae", "transformers", "transformers, compiled", "plain", UNFUSED)
GOALS = {
    ("vit-b", "plain", "cpu"): "1.25",
    ("vit-b", UNFUSED, "cpu"): "1.25",
    ("vit-b", "transformers", "cpu"): "above 1",
    ("videomae-b", "transformers", "cpu"): "above 1",
    ("vit-b", "transformers", "cuda"): "2",
}
MFU_GOALS = {"vit-b": "30%", "vit-l": "45%", "vit-h": "45%"}
Step = Callable[[], Tensor]


@dataclass(frozen=True)
class Subject:
    """A model of ours, on the CPU at first, with a batch for it on the device; everything else is made from them."""

    config: Config
    entry: str
    model: MaskedAutoencoder
    x: Tensor

    @classmethod
    def of(cls, name: str, batch: int, *, tiny: bool) -> "Subject":
        recipe = RECIPES[name]
        config = mae_core.load_config(recipe, small(recipe) if tiny else [])
        torch.manual_seed(0)
        model = mae_core.build_model(config)
        entry = recipe.partition("/")[0]
        shape = model.parts(entry).tokenizer.sample_shape
        return cls(config, entry, model, torch.randn(batch, *shape, device=DEVICE))

    def hidden(self, generator: torch.Generator) -> Tensor:
        """(B, N) bool, on the device: what the recipe's masker hides."""
        return self.model.draw_masks([self.entry], len(self.x), generator=generator)[self.entry].hidden.to(DEVICE)


def ours(subject: Subject, *, compiled: bool) -> tuple[nn.Module, Step]:
    model, generator = subject.model.to(DEVICE), torch.Generator().manual_seed(0)
    if compiled:
        compile_blocks(model)
    return model, lambda: model({subject.entry: subject.x}, generator=generator).loss


def hugging_face(subject: Subject, *, compiled: bool) -> tuple[nn.Module, Step]:
    """Takes its weights over to our model. Raises LookupError where the library has no such model."""
    from transformers import VideoMAEConfig, VideoMAEForPreTraining, ViTMAEConfig, ViTMAEForPreTraining

    if subject.entry not in LAYOUTS:
        raise LookupError(f"there is no such model for {subject.entry}")
    layout, parts = LAYOUTS[subject.entry], subject.model.parts(subject.entry)
    (about,) = (content for name, content in files_beside(subject.model, layout=layout).items() if name == "config.json")
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(1)  # the same weights each time
    if subject.entry == "image":
        model = ViTMAEForPreTraining(ViTMAEConfig(**about))
        with torch.no_grad():  # it leaves zeros in its tables
            model.vit.embeddings.position_embeddings[0, 1:] = parts.positions.table
            model.decoder.decoder_pos_embed[0, 1:] = parts.decoder.positions.table
        inputs: Callable[[], dict[str, Tensor]] = lambda: {"pixel_values": subject.x}  # noqa: E731 - typed
    else:
        model = VideoMAEForPreTraining(VideoMAEConfig(**about))
        frames = subject.x.transpose(1, 2).contiguous()
        inputs = lambda: {"pixel_values": frames, "bool_masked_pos": subject.hidden(generator)}  # noqa: E731
    mae_core.import_state_dict(subject.model, model.state_dict(), layout=layout)
    model = model.to(DEVICE).train()
    forward = torch.compile(model) if compiled else model
    return model, lambda: forward(**inputs()).loss


def plain(subject: Subject) -> tuple[nn.Module, Step]:
    """Raises LookupError for a model that it is not."""
    if subject.entry not in LAYOUTS:
        raise LookupError(f"there is no such model for {subject.entry}")
    model = PlainMAE(subject.model, subject.entry, subject.config).to(DEVICE)
    generator = torch.Generator().manual_seed(0)
    return model, lambda: model(subject.x, subject.hidden(generator))


def make(subject: Subject, *, compiled: bool, peers: Sequence[str]) -> dict[str, tuple[nn.Module, Step]]:
    """Models and what computes their loss. Hugging Face's comes first, because its weights are the other ones' too."""
    makers: dict[str, Callable[[], tuple[nn.Module, Step]]] = {
        "transformers": lambda: hugging_face(subject, compiled=False),
        "transformers, compiled": lambda: hugging_face(subject, compiled=True),
        "plain": lambda: plain(subject),
        UNFUSED: lambda: plain(subject),
        "mae": lambda: ours(subject, compiled=compiled),
    }
    made = {}
    for name, maker in makers.items():
        if name in peers:
            try:
                made[name] = maker()
            except (ImportError, LookupError) as error:
                print(f"{name} is left out: {error}")
    return {name: made[name] for name in PEERS if name in made}


def require_same_loss(subject: Subject, made: dict[str, tuple[nn.Module, Step]]) -> float:
    """The largest relative difference of the losses for the same masks. Raises RuntimeError where it is no rounding."""
    noise = torch.rand(subject.hidden(torch.Generator()).shape, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    keep = subject.model.draw_masks([subject.entry], 1)[subject.entry].num_keep
    mask = mae_core.Mask.from_noise(noise, keep)
    losses = []
    with torch.no_grad():
        for name, (model, _) in made.items():
            if name == "mae":
                losses.append(model({subject.entry: subject.x}, masks={subject.entry: mask}).loss)
            elif name in ("plain", UNFUSED):
                losses.append(model(subject.x, mask.hidden))
            elif subject.entry == "image":
                losses.append(model(subject.x, noise=noise).loss)
            else:
                losses.append(model(subject.x.transpose(1, 2), bool_masked_pos=mask.hidden).loss)
    difference = max(float(abs(loss / losses[0] - 1)) for loss in losses)
    if difference > 1e-3:
        raise RuntimeError(f"these are not the same model: losses {[float(loss) for loss in losses]}")
    return difference


class Training:
    """A model with its optimizer; a call is one step: forward, backward, AdamW (fused, or as torch has it by default)."""

    def __init__(self, model: nn.Module, loss_of: Step, *, fused: bool) -> None:
        self.model, self.loss_of = model, loss_of
        groups = weight_decay_groups(model, 0.05)
        self.optimizer = torch.optim.AdamW(groups, lr=1e-6, betas=(0.9, 0.95), fused=True if fused else None)

    def __call__(self) -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
            loss = self.loss_of()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    @property
    def kept(self) -> int:
        """Bytes that are there between steps."""
        states = [value for state in self.optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
        return sum(tensor.nbytes for tensor in (*self.model.parameters(), *self.model.buffers(), *states))


def peak(name: str, peer: str, batch: int, *, compiled: bool, tiny: bool) -> int:
    """Bytes of two steps beyond imports, weights included; to be called in a process of its own."""
    import transformers  # noqa: F401 - so that no variant pays for it

    def run() -> None:
        subject = Subject.of(name, batch, tiny=tiny)
        model, loss_of = make(subject, compiled=compiled, peers=[peer])[peer]
        if peer != "mae":
            subject.model.to("meta")
        step = Training(model, loss_of, fused=peer != UNFUSED)
        step()
        step()

    return peak_above(run)


def hardware() -> Hardware | None:
    """What `mae cost` knows of this device's peak."""
    if DEVICE == "cpu":
        return None
    words = torch.cuda.get_device_name().lower().split()
    return next((known for name, known in HARDWARE.items() if name in words), None)


def flops_of(config: Config) -> float:
    """Of the forward and backward pass of one sample."""
    measured = cost(config, hardware=HARDWARE["h100"], samples=["1000000"]).model
    return sum(measured.training(source) for source in measured.samples)


def memory_of(name: str, peer: str, step: Training, options: argparse.Namespace) -> int:
    """The peak of a variant in bytes."""
    if DEVICE == "cuda":
        return step.kept + peak_above(step)
    words = [name, "--peak", peer, "--batch", options.batch, *["--compile"] * options.compile, *["--tiny"] * options.tiny]
    return int(in_own_process(__file__, *words))


def compare(name: str, options: argparse.Namespace) -> list[list[str]]:
    """The rows of one model."""
    batch = options.batch
    subject = Subject.of(name, batch, tiny=options.tiny)
    made = make(subject, compiled=options.compile, peers=options.peers)
    difference = require_same_loss(subject, made)
    print(f"{name}: losses differ by {difference:.1e}", flush=True)
    steps = {peer: Training(model, loss_of, fused=peer != UNFUSED) for peer, (model, loss_of) in made.items()}
    seconds = take_turns(steps, num_rounds=options.rounds)
    flops, device = flops_of(subject.config), hardware()
    rows = []
    for peer, times in seconds.items():
        rate = batch / statistics.median(times)
        used = f"{rate * flops / device.half:.1%}" if device else f"{rate * flops / 1e9:.0f} GFLOP/s"
        middle, low, high = ratio(seconds["mae"], times)
        memory = "" if options.no_memory else f"{memory_of(name, peer, steps[peer], options) / 2**30:.2f} GiB"
        what, goal = f"{name}, batch {batch}", GOALS.get((name, peer, DEVICE), "")
        if peer != "mae":
            note(f"{what}: mae beside {peer}", f"{middle:.2f} x as fast", beside=f"{low:.2f} to {high:.2f}", goal=goal)
        elif device:
            note(f"{what}: model FLOPs utilisation", used, goal=MFU_GOALS.get(name, ""))
        if memory:
            note(f"{what}: peak memory of {peer}", memory)
        rows.append([name, peer, f"{rate:.2f}", f"{middle:.2f} ({low:.2f} to {high:.2f})", used, memory])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(RECIPES)}; vit-b by default")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="ours, each block of it")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["mae", "transformers", "plain"])
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory, which takes more steps")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try this")
    parser.add_argument("--peak", choices=PEERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    names, options.peers = options.models or ["vit-b"], list(dict.fromkeys(["mae", *options.peers]))
    if unknown := set(names) - set(RECIPES):
        parser.error(f"unknown models: {', '.join(sorted(unknown))}")
    if options.peak:
        print(peak(names[0], options.peak, options.batch, compiled=options.compile, tiny=options.tiny))
        return
    print(machine())
    rows = [row for name in names for row in compare(name, options)]
    used = "model FLOPs / peak" if hardware() else "model FLOPs"
    print(table(["model", "step", "samples/s", "time, as a multiple of mae's", used, "peak memory"], rows))


if __name__ == "__main__":
    main()
