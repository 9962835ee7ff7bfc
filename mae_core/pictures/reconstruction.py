"""Samples through a trained model and back, for pictures."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mae_core.interfaces import Masker, Preview, Reconstruction, Sample
from mae_core.masking.sampling import derive_seed, draw
from mae_core.model.autoencoder import MaskedAutoencoder, Parts
from mae_core.model.output import Output
from mae_registry import MaeError


def has_picture(model: MaskedAutoencoder, entry: str) -> bool:
    """Whether the target of this modality predicts something that can be shown."""
    return model.parts(entry).target.has_picture


@torch.no_grad()
def reconstruct(
    model: MaskedAutoencoder, entry: str, previews: Sequence[Preview], *, seed: int = 0, masker: Masker | None = None
) -> list[Reconstruction]:
    """Hide, encode, decode and un-normalise each preview; `masker` in place of the model's own, as it is when training ends.

    One reconstruction for each context and query. The mask of a sample depends on the seed and its place in `previews` alone.
    The model is in evaluation mode meanwhile. Raises MaeError where the target predicts nothing that can be shown.
    """
    parts = model.parts(entry)
    if not parts.target.has_picture:
        raise MaeError(f"the target of {entry!r} predicts {parts.target.dim} numbers a patch that are no picture of it")
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rows: list[Reconstruction] = []
    for index, preview in enumerate(previews):
        generator = torch.Generator().manual_seed(derive_seed(seed, "picture", index))
        x = parts.tokenizer.normalize(preview.sample.unsqueeze(0).to(device))
        extras = {name: tensor.unsqueeze(0).to(device) for name, tensor in preview.extras.items()}
        drawn = draw((masker or parts.masker).at(1.0), parts.tokenizer.grid, 1, generator=generator)
        out = model({entry: Sample(x, extras)}, masks={entry: drawn}, predict="all")
        rows += [_reconstruction(parts, entry, preview, x, each) for each in out.sets or [out]]
    model.train(was_training)
    return rows


def _reconstruction(parts: Parts, entry: str, preview: Preview, x: Tensor, out: Output) -> Reconstruction:
    tokenizer, target = parts.tokenizer, parts.target
    # of several contexts of one sample, the first is shown
    pred, patches = out.pred[entry][:1].float(), tokenizer.patchify(x)
    is_hidden = out.mask[entry].hidden[:1]
    hidden = is_hidden.unsqueeze(-1).expand_as(patches).float()
    raw = tokenizer.unpatchify(target.raw_patches(pred))[0].cpu() if target.raw_differs else None
    return Reconstruction(
        title=preview.title,
        note=preview.note,
        sample=tokenizer.denormalize(x)[0].cpu(),
        hidden=(tokenizer.unpatchify(hidden)[0] == 1).cpu(),  # where patches overlap, all of them
        prediction=tokenizer.denormalize(tokenizer.unpatchify(target.to_patches(pred, patches)))[0].cpu(),
        raw=raw,
        mask_ratio=float(is_hidden.float().mean()),
        loss=float(out.loss),
    )
