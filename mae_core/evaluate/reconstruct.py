"""Samples through a trained model and back, for pictures."""

from collections.abc import Sequence

import torch

from mae_core.interfaces import Mask, Masker, Preview, Reconstruction
from mae_core.model import MaskedAutoencoder
from mae_core.seeds import derive_seed


@torch.no_grad()
def reconstruct(
    model: MaskedAutoencoder, modality: str, previews: Sequence[Preview], *, seed: int = 0, masker: Masker | None = None
) -> list[Reconstruction]:
    """Hide, encode, decode and un-normalise each preview; `masker` in place of the model's own.

    The mask of a sample depends on the seed and its place in `previews` alone. The model is in evaluation mode meanwhile.
    """
    parts = model.parts(modality)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rows: list[Reconstruction] = []
    for index, preview in enumerate(previews):
        generator = torch.Generator().manual_seed(derive_seed(seed, "picture", index))
        mask = (masker or parts.masker)(parts.tokenizer.grid, 1, generator=generator)
        rows.append(_reconstruct_one(model, modality, preview, mask.to(device), device))
    model.train(was_training)
    return rows


def _reconstruct_one(
    model: MaskedAutoencoder, modality: str, preview: Preview, mask: Mask, device: torch.device
) -> Reconstruction:
    parts = model.parts(modality)
    tokenizer, target = parts.tokenizer, parts.target
    x = tokenizer.normalize(preview.sample.unsqueeze(0).to(device))
    out = model({modality: x}, masks={modality: mask}, predict="all")
    pred, patches = out.pred[modality].float(), tokenizer.patchify(x)
    hidden = mask.hidden.unsqueeze(-1).expand_as(patches).float()
    raw = tokenizer.unpatchify(target.raw_patches(pred))[0].cpu() if target.raw_differs else None
    return Reconstruction(
        title=preview.title,
        note=preview.note,
        sample=tokenizer.denormalize(x)[0].cpu(),
        hidden=(tokenizer.unpatchify(hidden)[0] == 1).cpu(),  # where patches overlap, all of them
        prediction=tokenizer.denormalize(tokenizer.unpatchify(target.to_patches(pred, patches)))[0].cpu(),
        raw=raw,
        mask_ratio=float(mask.hidden.float().mean()),
        loss=float(out.loss),
    )
