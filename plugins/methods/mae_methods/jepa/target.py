"""Latents of a teacher: what I-JEPA predicts (Assran et al. 2023, section 3)."""

from collections.abc import Mapping
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mae_core.interfaces import Momentum, Predicted, Sample, Seen, Target, TargetPlace
from mae_methods.collapse import spreads

Share = Annotated[float, Field(ge=0, le=1)]


class JepaLatents(Target):
    """The teacher's latents of whole samples, each normalised; smooth L1 error, the mean over a latent's values.

    A latent is normalised by its own mean and standard deviation (layer norm without weights, epsilon 1e-5). The log gets
    `target_std` and `pred_std`: how much latents at one patch differ from sample to sample. Both near 0 tell that the teacher
    has collapsed: it knows where a patch lies, or not even that, and no longer what it shows.

    Args:
        momentum: the share of itself that the teacher keeps at each step, [at the first, at the end]; linear in between.
    """

    def __init__(self, place: TargetPlace, *, momentum: tuple[Share, Share] = (0.996, 1.0)) -> None:
        super().__init__()
        self.dim = place.latent_width
        self.momentum = Momentum(*momentum)

    def prepare(self, seen: Seen) -> Tensor:
        """(B, N, D)."""
        assert seen.teacher is not None, "the target declares a momentum"
        latent = seen.teacher.encode({seen.entry: Sample(seen.x, seen.extras)})
        return F.layer_norm(latent.tokens, [self.dim])

    def error(self, pred: Tensor, truth: Tensor) -> Tensor:
        """The mean over a latent's values: half the square of a difference below 1, and what is beyond 0.5 of larger ones."""
        return F.smooth_l1_loss(pred, truth, reduction="none").mean(dim=-1)

    def metrics(self, predicted: Predicted) -> Mapping[str, Tensor]:
        """Standard deviations over the samples of a batch; none where it has one sample."""
        return spreads(predicted)
