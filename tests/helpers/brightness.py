"""A quantizer for the tests."""

import torch
from torch import Tensor, nn

from mae_core.interfaces import Quantizer, Seen, TargetPlace
from mae_core.registry import registry
from mae_registry import Component


class Brightness(Quantizer):
    """A quantizer as a plugin might bring it: it looks at whole samples, has weights, and cannot be shown."""

    def __init__(self, place: TargetPlace, *, num_tokens: int = 4) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.grid = place.tokenizer.grid
        self.scale = nn.Parameter(torch.zeros(1))
        self.drop = nn.Dropout()

    def read_weights(self) -> None:
        with torch.no_grad():
            self.scale.fill_(1.0)

    def quantize(self, seen: Seen) -> Tensor:
        brightness = self.drop(seen.x.mean(dim=(1, 2, 3)) * self.scale)
        places = torch.arange(self.grid.num_patches, device=seen.x.device)
        return (places + brightness.gt(0).long().unsqueeze(1)) % self.num_tokens


def register_brightness() -> None:
    """As the quantizer "brightness", once a process."""
    if "brightness" not in registry().names("quantizers"):
        registry().add(Component("quantizers", "brightness", "brightness:Brightness", "core"))
