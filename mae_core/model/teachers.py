"""Moving averages of the backbone, for targets that declare a `momentum`."""

import copy
from collections.abc import Mapping

import torch
from torch import nn

from mae_core.interfaces import Momentum
from mae_core.model.averages import move_averages
from mae_core.model.backbone import Backbone


class Teachers(nn.ModuleList):
    """One float32 copy of the backbone for each momentum schedule: frozen, in evaluation mode, saved with the model.

    `declared` are the targets' momenta by entry; targets of the same schedule share a teacher.
    """

    def __init__(self, backbone: Backbone, declared: Mapping[str, Momentum | None]) -> None:
        self.momenta = list(dict.fromkeys(momentum for momentum in declared.values() if momentum is not None))
        super().__init__(copy.deepcopy(backbone).float().requires_grad_(False).eval() for _ in self.momenta)
        self._numbers = {entry: self.momenta.index(momentum) for entry, momentum in declared.items() if momentum is not None}

    def of(self, entry: str) -> Backbone | None:
        """The teacher that an entry's target declares."""
        if entry not in self._numbers:
            return None
        teacher = self[self._numbers[entry]]
        assert isinstance(teacher, Backbone)
        return teacher

    def train(self, mode: bool = True) -> "Teachers":
        """A teacher is never in training mode: it drops no paths."""
        return self

    @torch.no_grad()
    def copy_from(self, backbone: Backbone) -> None:
        """Begin again at the student's weights, e.g. when these were imported."""
        for teacher in self:
            teacher.load_state_dict(backbone.state_dict())

    @torch.no_grad()
    def follow(self, backbone: Backbone, *, step: int, num_steps: int) -> None:
        """The update after an optimizer step that was taken: one fused call for all weights, in the order of parameters.

        The order and not the names joins student and teacher, so that no wrapper's prefix can come between them.
        """
        for teacher, momentum in zip(self, self.momenta, strict=True):
            decay = momentum.at(step, num_steps)
            move_averages(list(teacher.parameters()), list(backbone.parameters()), decay=decay)
            for average, own in zip(teacher.buffers(), backbone.buffers(), strict=True):
                average.copy_(own)
