"""docs/examples/dense and docs/examples/deploy: an encoder under a detector and a segmenter, and as a file for onnxruntime."""

import importlib
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from documents import EXAMPLES
from PIL import Image

from mae_core import load_config
from mae_core.build import build_backbone

PART = "model.modalities.image"


@pytest.fixture(scope="module")
def script():
    """Imports a script of docs/examples by its folder and name."""
    with pytest.MonkeyPatch.context() as patch:

        def load(folder: str, name: str) -> Any:
            patch.syspath_prepend(EXAMPLES / folder)
            return importlib.import_module(name)

        yield load


def backbone(recipe="image/mae_vit_base", *overrides) -> Any:
    torch.manual_seed(0)
    return build_backbone(load_config(recipe, list(overrides))).eval()


@pytest.fixture
def small() -> Any:
    return small_backbone()


def small_backbone() -> Any:
    encoder = "model.encoder={name: vit, width: 32, depth: 4, heads: 2}"
    return backbone("image/mae_vit_base", encoder, f"{PART}.tokenizer={{input_size: [32, 32], patch_size: [8, 8]}}")


def test_mask_rcnn_learns_on_an_encoder_and_finds_boxes_in_photographs(script, small):
    detection, shapes = script("dense", "mask_rcnn"), script("dense", "shapes")
    before = small.encoder.blocks[0].attn.qkv.weight.clone()
    losses = detection.train(small, num_steps=6)
    assert np.mean(losses[-2:]) < np.mean(losses[:2])
    assert not torch.equal(before, small.encoder.blocks[0].attn.qkv.weight)
    image, _ = shapes.painted(0)
    with torch.no_grad():
        (found,) = detection.make_detector(small).eval()([image])
    assert found["masks"].shape[1:] == (1, *image.shape[1:])
    assert len(found["boxes"]) == len(found["scores"]) == len(found["masks"])


def test_a_segmenter_learns_on_an_encoder(script, small):
    segmentation = script("dense", "upernet")
    losses = segmentation.train(small, num_steps=6)
    assert losses[-1] < 0.8 * losses[0]
    with torch.no_grad():
        assert segmentation.Segmenter(small, num_classes=3)(torch.randn(1, 3, 64, 96)).shape == (1, 3, 64, 96)


def test_painted_shapes_do_not_overlap_and_lie_in_their_boxes(script):
    shapes = script("dense", "shapes")
    for number in range(8):
        image, target = shapes.painted(number)
        assert image.shape == (3, *shapes.SIZE)
        assert target["masks"].sum(0).max() == 1
        for mask, (left, top, right, bottom) in zip(target["masks"], target["boxes"].int(), strict=True):
            assert mask[top:bottom, left:right].sum() == mask.sum() > 20


@pytest.fixture(scope="module")
def exported(script, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "encoder.onnx"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # torch's own
        script("deploy", "export_onnx").export(small_backbone().for_shapes({"image": (3, 32, 48)}), str(path))
    return path


def test_a_file_gives_the_features_of_the_model_for_every_batch(script, small, exported):
    (opset,) = onnx.load(exported).opset_import
    assert (opset.domain, opset.version) == ("", script("deploy", "export_onnx").OPSET)
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    for num_samples in (1, 3, 7):
        x = torch.randint(0, 256, (num_samples, 3, 32, 48), dtype=torch.uint8)
        (found,) = session.run(["features"], {"samples": x.numpy()})
        with torch.no_grad():
            normalized = small.input("image").tokenizer.normalize(x)
            expected = small.for_shapes({"image": (3, 32, 48)}).encode({"image": normalized}).pooled()
        np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument, match="Expected: 32"):
        session.run(["features"], {"samples": np.zeros((1, 3, 40, 48), np.uint8)})


def test_a_file_of_8_bits_has_almost_the_features(script, exported, tmp_path):
    int8 = script("deploy", "int8")
    for split, num_images in (("train", 6), ("test", 3)):
        for label, level in enumerate((60, 190)):
            place = tmp_path / "data" / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(num_images):
                pixels = np.random.default_rng(number).normal(level, 20, (32, 48, 3)).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")
    bank, queries = (int8.read(tmp_path / "data" / split, 6) for split in ("train", "test"))
    assert int8.compare(exported, bank, queries) == {"float32": 1.0, "int8": 1.0}
    full, rounded = (int8.Encoder(path)(queries.images) for path in (exported, int8.quantized(exported)))
    assert not torch.equal(full, rounded)
    assert float(torch.nn.functional.cosine_similarity(full, rounded).min()) > 0.98
    weights = onnx.load(int8.quantized(exported)).graph.initializer
    assert sum(each.data_type == onnx.TensorProto.INT8 and len(each.dims) == 2 for each in weights) == 4 * 4 + 1


@pytest.mark.parametrize("recipe", ["methods/hiera_demo", "methods/data2vec_demo", "methods/jepa_demo"])
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_encoders_of_methods_are_exported_for_every_batch(script, recipe):
    model = script("deploy", "export_onnx").Features(backbone(recipe), "image").eval()
    shape = model.backbone.input("image").tokenizer.sample_shape
    x = torch.randint(0, 256, (5, *shape), dtype=torch.uint8)
    program = torch.export.export(model, (x[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), model(x), rtol=0, atol=1e-5)
