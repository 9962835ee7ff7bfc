"""`hf-videomae` against the real classes of transformers."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel

import mae_core
from mae_core import Mask
from mae_core.layouts.published import files_beside
from mae_registry import MaeError

SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 72,
    "image_size": 16,
    "patch_size": 8,
    "num_frames": 4,
    "decoder_hidden_size": 16,
    "decoder_num_attention_heads": 2,
    "decoder_num_hidden_layers": 2,
    "decoder_intermediate_size": 64,
    "use_mean_pooling": False,
}


def theirs(cls=VideoMAEForPreTraining, **changed):
    torch.manual_seed(0)
    model = cls(VideoMAEConfig(**{**SIZES, **changed})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def ours(*overrides):
    torch.manual_seed(1)
    video = {
        "tokenizer": {"input_size": [4, 16, 16], "patch_size": [2, 8, 8]},
        "decoder": {"width": 16, "depth": 2, "heads": 2},
        "masker": {"ratio": 0.5},
    }
    sizes = {"encoder": {"width": 24, "depth": 2, "heads": 3, "mlp_ratio": 3.0}, "modalities": {"video": video}}
    model = mae_core.build_model(mae_core.load_config({"extends": "video/videomae_base", "model": sizes}, overrides)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def clips():
    return torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(2))


def assert_same_predictions(model, their_model):
    """The norm of transformers' decoder has an epsilon of 1e-5, the release's and ours 1e-6; nothing else differs."""
    x = clips()
    hidden = torch.ones(2, 8, dtype=torch.bool)
    hidden[0, [1, 5]] = hidden[1, [0, 4]] = False
    with torch.no_grad():
        unchanged = their_model(x.transpose(1, 2), bool_masked_pos=hidden)
        their_model.decoder.norm.eps = 1e-6
        expected = their_model(x.transpose(1, 2), bool_masked_pos=hidden)
        found = model({"video": x}, masks={"video": Mask.from_hidden(hidden)})
    order = found.mask["video"].ids_predict.argsort(dim=1)
    pred = found.pred["video"].gather(1, order.unsqueeze(-1).expand_as(found.pred["video"]))
    torch.testing.assert_close(pred, expected.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(pred, unchanged.logits, rtol=1e-5, atol=5e-5)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-5, atol=0)


@pytest.mark.parametrize("pooled", [True, False])
def test_a_saved_model_is_recognised_and_predicts_the_same(pooled, tmp_path):
    """With `use_mean_pooling` there is no norm behind the encoder."""
    model = theirs(use_mean_pooling=pooled)
    model.save_pretrained(tmp_path)
    heard = []
    found, config, _ = mae_core.load_model(tmp_path, overrides=["model.modalities.video.masker.ratio=0.5"], say=heard.append)
    assert config["model.encoder.heads"] == 3
    assert config["model.encoder.final_norm"] != pooled
    assert "hf-videomae" in heard[0]
    assert_same_predictions(found, model)


def test_names_in_memory_are_read_too():
    model, other = theirs(), ours()
    assert mae_core.import_state_dict(other, model.state_dict(), layout="hf-videomae") == []
    assert_same_predictions(other, model)


@pytest.mark.parametrize("cls", [VideoMAEModel, VideoMAEForVideoClassification])
def test_an_encoder_alone_and_that_of_a_classifier(cls, tmp_path):
    model = theirs(cls)
    model.save_pretrained(tmp_path)
    backbone = mae_core.load_backbone(tmp_path)
    encoder = model if cls is VideoMAEModel else model.videomae
    with torch.no_grad():
        expected = encoder(clips().transpose(1, 2)).last_hidden_state
        torch.testing.assert_close(backbone.encode({"video": clips()}).x, expected, rtol=0, atol=1e-5)


def test_the_exported_weights_are_read_by_transformers(tmp_path):
    model = ours()
    weights = {name: tensor.contiguous() for name, tensor in mae_core.export_state_dict(model, layout="hf-videomae").items()}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for name, content in files_beside(model, layout="hf-videomae").items():
        (tmp_path / name).write_text(json.dumps(content))
    found, notes = VideoMAEForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(notes[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert_same_predictions(model, found.eval())


def test_models_that_transformers_does_not_have():
    with pytest.raises(MaeError, match="without a class token"):
        files_beside(ours("model.encoder.class_token=true"), layout="hf-videomae")
    with pytest.raises(MaeError, match="embed_bias: false"):
        files_beside(ours("model.modalities.video.decoder.embed_bias=true"), layout="hf-videomae")
