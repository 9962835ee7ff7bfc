"""An encoder as an ONNX file that takes bytes and gives features, for batches of any size.

python docs/examples/deploy/export_onnx.py runs/mine encoder.onnx
"""

import argparse

import torch
from torch import Tensor, nn

import mae_core
from mae_core.model.backbone import Backbone

OPSET = 20


class Features(nn.Module):
    """Samples as a dataset gives them, (B, *sample_shape) uint8 -> the mean of their patches' tokens, (B, D)."""

    def __init__(self, backbone: Backbone, entry: str) -> None:
        super().__init__()
        self.backbone, self.entry = backbone, entry

    def forward(self, x: Tensor) -> Tensor:
        """Normalises too, so that whoever runs the file need not know how."""
        normalized = self.backbone.input(self.entry).tokenizer.normalize(x)
        return self.backbone.encode({self.entry: normalized}).pooled("mean")


def export(backbone: Backbone, path: str, *, entry: str = "image") -> None:
    """Write the file; its input is "samples", its output "features"."""
    model = Features(backbone, entry).eval()
    example = torch.zeros(2, *backbone.input(entry).tokenizer.sample_shape, dtype=torch.uint8)
    program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    made = torch.onnx.export(program, input_names=["samples"], output_names=["features"], opset_version=OPSET, verbose=False)
    assert made is not None
    made.save(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write an encoder as an ONNX file.")
    parser.add_argument("encoder", help="a run, an encoder.safetensors, or published weights")
    parser.add_argument("output")
    options = parser.parse_args()
    export(mae_core.load_backbone(options.encoder), options.output)
