"""Samples through a trained model and back, for pictures."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mae_core.interfaces import Masker, Preview, Reconstruction
from mae_core.masking.sampling import derive_seed, draw
from mae_core.model.autoencoder import MaskedAutoencoder, ModalityParts, Output


@torch.no_grad()
def reconstruct(
    model: MaskedAutoencoder, modality: str, previews: Sequence[Preview], *, seed: int = 0, masker: Masker | None = None
) -> list[Reconstruction]:
    """Hide, encode, decode and un-normalise each preview; `masker` in place of the model's own, as it is when training ends.

    One reconstruction an index set.
    The mask of a sample depends on the seed and its place in `previews` alone. The model is in evaluation mode meanwhile.
    """
    parts = model.parts(modality)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    rows: list[Reconstruction] = []
    for index, preview in enumerate(previews):
        generator = torch.Generator().manual_seed(derive_seed(seed, "picture", index))
        x = parts.tokenizer.normalize(preview.sample.unsqueeze(0).to(device))
        drawn = draw((masker or parts.masker).at(1.0), parts.tokenizer.grid, 1, generator=generator)
        out = model({modality: x}, masks={modality: drawn}, predict="all")
        rows += [_reconstruction(parts, modality, preview, x, each) for each in out.sets or [out]]
    model.train(was_training)
    return rows


def _reconstruction(parts: ModalityParts, modality: str, preview: Preview, x: Tensor, out: Output) -> Reconstruction:
    tokenizer, target = parts.tokenizer, parts.target
    mask = out.mask[modality]
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
