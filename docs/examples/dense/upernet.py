"""Semantic segmentation with a small head like UperNet's on a pre-trained encoder, for a few steps on painted shapes.

python docs/examples/dense/upernet.py runs/mine --steps 20
"""

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mae_core
from mae_core.model.backbone import Backbone
from mae_core.model.pyramid import FeaturePyramid
from shapes import CLASSES, label_map, painted


class Segmenter(nn.Module):
    """Maps of four strides, joined from the coarsest to the finest, and a score for each class and pixel.

    The coarsest map is joined with what it is in 1, 4, 9 and 36 pooled places (Xiao et al. 2018, "Unified Perceptual Parsing").
    """

    POOLED = (1, 2, 3, 6)

    def __init__(self, backbone: Backbone, *, num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.pyramid = FeaturePyramid(backbone, out_channels=width)
        self.pooled = nn.ModuleList(_conv(width, width, 1) for _ in self.POOLED)
        self.coarsest = _conv(width * (1 + len(self.POOLED)), width, 3)
        self.smooth = nn.ModuleList(_conv(width, width, 3) for _ in range(3))
        self.head = nn.Sequential(_conv(4 * width, width, 3), nn.Conv2d(width, num_classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised photographs (B, 3, H, W) -> scores (B, classes, H, W)."""
        *finer, last = self.pyramid(x).values()
        context = [
            _to(module(F.adaptive_avg_pool2d(last, side)), last) for side, module in zip(self.POOLED, self.pooled, strict=True)
        ]
        maps = [self.coarsest(torch.cat([last, *context], dim=1))]
        for features, smooth in zip(reversed(finer), self.smooth, strict=True):
            maps.insert(0, smooth(features + _to(maps[0], features)))
        scores = self.head(torch.cat([_to(features, maps[0]) for features in maps], dim=1))
        return _to(scores, x)


def _conv(width: int, new_width: int, side: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, new_width, side, padding=side // 2), nn.GroupNorm(8, new_width), nn.ReLU())


def _to(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def train(backbone: Backbone, *, num_steps: int, batch_size: int = 4) -> list[float]:
    """The cross-entropy at each step; encoder, pyramid and head learn together."""
    torch.manual_seed(0)
    model = Segmenter(backbone, num_classes=len(CLASSES)).train()
    normalize = backbone.input("image").tokenizer.normalize
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    losses: list[float] = []
    for step in range(num_steps):
        samples = [painted(step * batch_size + number) for number in range(batch_size)]
        scores = model(normalize(torch.stack([image for image, _ in samples])))
        loss = F.cross_entropy(scores, torch.stack([label_map(target) for _, target in samples]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        print(f"step {step + 1}  loss {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a segmenter on a pre-trained encoder for a few steps.")
    parser.add_argument("encoder", help="a run, an encoder.safetensors, or published weights")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    train(mae_core.load_backbone(options.encoder), num_steps=options.steps)
