"""torchvision's Mask R-CNN on a pre-trained encoder, for a few steps on photographs with painted shapes.

python docs/examples/dense/mask_rcnn.py runs/mine --steps 20
"""

import argparse

import torch
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.rpn import AnchorGenerator

import mae_core
from mae_core.model.backbone import Backbone
from mae_core.model.pyramid import FeaturePyramid
from mae_core.parts.patches import PatchTokenizer
from shapes import CLASSES, SIZE, painted


def make_detector(backbone: Backbone) -> MaskRCNN:
    """The detector with a pyramid of the encoder; small, so that a step takes a second on a CPU."""
    tokenizer = backbone.input("image").tokenizer
    assert isinstance(tokenizer, PatchTokenizer)
    return MaskRCNN(
        FeaturePyramid(backbone, out_channels=64),
        num_classes=len(CLASSES),
        min_size=SIZE[0],
        max_size=SIZE[1],
        image_mean=tokenizer.mean.flatten().tolist(),  # the detector normalises and pads the photographs itself
        image_std=tokenizer.std.flatten().tolist(),
        rpn_anchor_generator=AnchorGenerator(((16,), (32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 4),
        rpn_post_nms_top_n_train=100,
        box_batch_size_per_image=32,
    )


def train(backbone: Backbone, *, num_steps: int, batch_size: int = 2) -> list[float]:
    """The detector's loss at each step; encoder, pyramid and heads learn together."""
    torch.manual_seed(0)
    detector = make_detector(backbone).train()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-4, weight_decay=0.1)
    losses: list[float] = []
    for step in range(num_steps):
        images, targets = zip(*(painted(step * batch_size + number) for number in range(batch_size)), strict=True)
        loss = torch.stack(list(detector(list(images), list(targets)).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        print(f"step {step + 1}  loss {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train Mask R-CNN on a pre-trained encoder for a few steps.")
    parser.add_argument("encoder", help="a run, an encoder.safetensors, or published weights")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    train(mae_core.load_backbone(options.encoder), num_steps=options.steps)
