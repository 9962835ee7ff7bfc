"""How far a teacher, and what is predicted of it, have collapsed: numbers for the log of targets that are latents."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mae_core.interfaces import Predicted, gather_patches


def spreads(predicted: Predicted) -> Mapping[str, Tensor]:
    """`target_std` and `pred_std`: how much latents at one patch differ from sample to sample; none of one sample alone.

    Both near 0 tell that the teacher has collapsed: it knows where a patch lies, or not even that, and no longer what it shows.
    """
    ids, num_patches = predicted.mask.ids_predict, predicted.truth.shape[1]
    if len(predicted.truth) == 1:
        return {}
    truth = gather_patches(predicted.truth, ids)
    return {
        "target_std": spread(truth, ids, num_patches=num_patches),
        "pred_std": spread(predicted.pred, ids, num_patches=num_patches),
    }


def spread(latents: Tensor, ids: Tensor, *, num_patches: int) -> Tensor:
    """(rows, M, D) at the patches (rows, M) -> the standard deviation among latents at one patch, the mean over D.

    It is pooled over the patches: each latent is compared with the mean of those at the same patch.
    """
    flat, at = latents.flatten(0, 1).float(), ids.flatten()
    numbers = torch.bincount(at, minlength=num_patches)
    means = flat.new_zeros(num_patches, flat.shape[1]).index_add(0, at, flat) / numbers.clamp(min=1).unsqueeze(1)
    freedom = len(at) - (numbers > 0).sum()
    return ((flat - means[at]).square().sum(dim=0) / freedom.clamp(min=1)).sqrt().mean()
