"""A backbone with a head over it: which parts are trained, and a moving average of them."""

import copy
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from mae_core.interfaces import Head, Mask, Sample
from mae_core.model.averages import move_averages
from mae_core.model.backbone import Backbone
from mae_registry import ConfigError


class Classifier(nn.Module):
    """Scores of each class, from all patches of a sample, or from those that masks leave visible."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.average: Classifier | None = None
        """A moving average of the weights, where there is one: frozen, in evaluation mode, saved with the model."""

    def forward(self, samples: Mapping[str, Tensor | Sample], masks: Mapping[str, Mask] | None = None) -> Tensor:
        """Normalised samples (B, *sample_shape) by modality -> (B, num_classes)."""
        return self.head(self.backbone.encode(samples, masks=masks))

    def train(self, mode: bool = True) -> Self:
        """Parts whose parameters are all frozen, and the average, stay in evaluation mode."""
        super().train(mode)
        for part in self.children():
            _still(part)
        return self

    def tune(self, num_blocks: float) -> None:
        """Train the head, the encoder's last blocks and what comes after them; freeze all else.

        0: the head alone. 0.5: the MLP of the last block, with its norm. 1, 2, ...: so many blocks (He et al. 2022, Figure 9).
        """
        encoder, last = self.backbone.encoder, self.backbone.encoder.num_blocks
        if num_blocks != 0.5 and (num_blocks != int(num_blocks) or num_blocks > last):
            raise ConfigError(
                f"task.tuned={num_blocks:g}: must be all, 0, 0.5, or a whole number of blocks, of which the encoder has {last}"
            )
        self.backbone.requires_grad_(False)
        for name, parameter in encoder.named_parameters() if num_blocks else ():
            layer = encoder.layer_of(name)
            is_tuned = layer is None or layer > last - int(num_blocks)
            is_mlp = layer == last and num_blocks == 0.5 and not {"mlp", "norm2"}.isdisjoint(name.split("."))
            parameter.requires_grad_(is_tuned or is_mlp)
        self.train(self.training)

    def begin_average(self) -> None:
        """Average the weights from here on."""
        self.average = copy.deepcopy(self).requires_grad_(False)
        self.average.eval()

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the average after an optimizer step: decay x average + (1 - decay) x weights, buffers included."""
        if self.average is None:
            return
        averages = self.average.state_dict()
        own = {name: tensor for name, tensor in self.state_dict().items() if name in averages}
        moving = [name for name, tensor in own.items() if tensor.is_floating_point()]
        move_averages([averages[name] for name in moving], [own[name] for name in moving], decay=decay)
        for name in own.keys() - set(moving):
            averages[name].copy_(own[name])

    @property
    def best(self) -> "Classifier":
        """What is used after training: the average, where there is one."""
        return self.average or self


def _still(module: nn.Module) -> None:
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        return
    for child in module.children():
        _still(child)
