"""What data2vec 2.0 predicts: the mean of a teacher's upper layers (Baevski et al. 2023, section 3.1); a class token's loss."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_core.interfaces import Momentum, Predicted, Sample, Seen, Target, TargetPlace, Term
from mae_core.interfaces.numbers import Positive, PositiveFloat, Probability
from mae_methods.collapse import spreads
from mae_registry import ConfigError


class Data2VecLayers(Target):
    """The mean of the teacher's upper layers at each patch of the whole sample.

    Each layer is normalised over the patches of a sample, every value of a latent by itself; so is then each patch's mean over
    its values (both without weights, epsilon 1e-5). The error is the sum of the squared differences over the root of their
    number. The log gets `target_std` and `pred_std`, which fall to 0 as a teacher collapses.

    Args:
        top: number of the layers; the encoder's last ones.
        momentum: the share of itself that the teacher keeps at each step, [at the first, at the end]; linear in between.
        momentum_steps: steps until the share is that of the end, where it stays; null: all steps of the run.
    """

    def __init__(
        self,
        place: TargetPlace,
        *,
        top: Positive,
        momentum: tuple[Probability, Probability] = (0.9998, 0.99999),
        momentum_steps: Positive | None = 100_000,
    ) -> None:
        super().__init__()
        if top > place.num_layers:
            raise ConfigError(f"top is {top}, but the encoder has {place.num_layers} layers")
        self.dim = place.latent_width
        self.momentum = Momentum(*momentum, num_steps=momentum_steps)
        self.layers = range(place.num_layers - top + 1, place.num_layers + 1)

    def prepare(self, seen: Seen) -> Tensor:
        """(B, N, D)."""
        assert seen.teacher is not None, "the target declares a momentum"
        latent = seen.teacher.encode({seen.entry: Sample(seen.x, seen.extras)}, layers=list(self.layers))
        outputs = (latent.layers[layer][:, latent.num_prefix :].float() for layer in self.layers)
        mean = torch.stack([F.instance_norm(output.transpose(1, 2)) for output in outputs]).mean(dim=0)
        return F.layer_norm(mean.transpose(1, 2), [self.dim])

    def error(self, pred: Tensor, truth: Tensor) -> Tensor:
        """The sum over a latent's values, over the root of their number."""
        return scaled_square(pred, truth)

    def metrics(self, predicted: Predicted) -> Mapping[str, Tensor]:
        """Standard deviations over the samples of a batch."""
        return spreads(predicted)


class Data2VecClassToken(Term):
    """The encoder's extra token predicts the mean of what is to be predicted at all patches of the sample.

    The error of a context is computed as that of a patch. Here the term is a mean over all contexts of the batch; the
    published one is 0.01 of the sum over those that are on one device, and so depends on how many these are.

    Args:
        scale: what the mean is multiplied by: 0.01 times the contexts on one device, to repeat a published run.
    """

    def __init__(self, places: Mapping[str, TargetPlace], *, scale: PositiveFloat) -> None:
        super().__init__()
        self.scale = scale

    def error(self, predicted: Mapping[str, Predicted]) -> Tensor:
        """(rows,)."""
        token = next(iter(predicted.values())).latent.pooled("cls")
        truth = torch.cat([each.truth for each in predicted.values()], dim=1).mean(dim=1)
        return self.scale * scaled_square(token, truth.repeat_interleave(len(token) // len(truth), dim=0))


def scaled_square(pred: Tensor, truth: Tensor) -> Tensor:
    """(..., D) twice -> (...,): the sum of the squared differences over the root of D."""
    return (pred - truth).square().sum(dim=-1) / pred.shape[-1] ** 0.5
