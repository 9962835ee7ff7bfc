"""`hf-vitmae` against the real classes of transformers."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import ViTMAEConfig, ViTMAEForPreTraining, ViTMAEModel

import mae_core
from mae_core import Mask
from mae_core.layouts.published import files_beside
from mae_registry import MaeError

SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 72,
    "image_size": 32,
    "patch_size": 8,
    "decoder_hidden_size": 16,
    "decoder_num_attention_heads": 2,
    "decoder_num_hidden_layers": 2,
    "decoder_intermediate_size": 64,
}


def theirs(cls=ViTMAEForPreTraining, **changed):
    """With random weights everywhere, the class token's included, but for positions, which are fixed."""
    torch.manual_seed(0)
    model = cls(ViTMAEConfig(**{**SIZES, **changed})).eval()
    fixed = ("position_embeddings", "decoder_pos_embed")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith(fixed):
                parameter.add_(0.1 * torch.randn_like(parameter))
        whole, own = hasattr(model, "decoder"), ours()
        # transformers leaves zeros in the tables, for those who load weights
        (model.vit if whole else model).embeddings.position_embeddings[0, 1:] = own.backbone.input("image").positions.table
        if whole:
            model.decoder.decoder_pos_embed[0, 1:] = own.parts("image").decoder.positions.table
    return model


def ours(*overrides):
    torch.manual_seed(1)
    image = {
        "tokenizer": {"input_size": [32, 32], "patch_size": [8, 8]},
        "decoder": {"width": 16, "depth": 2, "heads": 2},
        "target": {"normalize": "patch"},
    }
    sizes = {"encoder": {"width": 24, "depth": 2, "heads": 3, "mlp_ratio": 3.0}, "modalities": {"image": image}}
    model = mae_core.build_model(mae_core.load_config({"extends": "image/mae_vit_base", "model": sizes}, overrides)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def batch():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, 3, 32, 32, generator=generator), torch.rand(2, 16, generator=generator)


def assert_same_predictions(model, their_model):
    x, noise = batch()
    with torch.no_grad():
        expected = their_model(x, noise=noise)
        found = model({"image": x}, masks={"image": Mask.from_noise(noise, 4)}, predict="all")
    torch.testing.assert_close(found.pred["image"], expected.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-5, atol=0)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_saved_model_is_recognised_and_predicts_the_same(normalised, shards, tmp_path):
    model = theirs(norm_pix_loss=normalised)
    model.save_pretrained(tmp_path, max_shard_size="1GB" if shards == 1 else "30KB")
    assert len(list(tmp_path.glob("*.safetensors"))) >= shards
    heard = []
    found, config, _ = mae_core.load_model(tmp_path, say=heard.append)
    assert config["model.modalities.image.target.normalize"] == ("patch" if normalised else "none")
    assert config["model.encoder.heads"] == 3
    assert "hf-vitmae" in heard[0]
    assert_same_predictions(found, model)


@pytest.mark.parametrize("newer", [True, False])
def test_names_of_both_versions_of_the_library_are_read(newer, tmp_path):
    """What is in memory in transformers 5, and what older files hold."""
    model = theirs()
    state = dict(model.state_dict())
    if not newer:
        state = mae_core.export_state_dict(imported(state), layout="hf-vitmae")
        assert "vit.encoder.layer.0.attention.attention.query.weight" in state
        assert "decoder.decoder_layers.1.output.dense.bias" in state
    assert_same_predictions(imported(state), model)


def imported(state):
    model = ours("model.modalities.image.target.normalize=none")
    assert mae_core.import_state_dict(model, state, layout="hf-vitmae") == []
    return model


def test_an_encoder_alone(tmp_path):
    model = theirs(
        ViTMAEModel, layer_norm_eps=1e-6
    )  # the release's; of small tokens, transformers' 1e-12 changes the fifth digit
    model.save_pretrained(tmp_path)
    backbone = mae_core.load_backbone(tmp_path)
    x, noise = batch()
    model.config.mask_ratio = 0.0
    with torch.no_grad():
        expected = model(x, noise=noise.sort(dim=1).values).last_hidden_state
        torch.testing.assert_close(backbone.encode({"image": x}).x, expected, rtol=0, atol=1e-5)
    with pytest.raises(MaeError, match="no decoder"):
        mae_core.load_model(tmp_path)


def test_the_exported_weights_are_read_by_transformers(tmp_path):
    model = ours()
    export = mae_core.export_state_dict(model, layout="hf-vitmae")
    save_file(
        {name: tensor.contiguous() for name, tensor in export.items()},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    for name, content in files_beside(model, layout="hf-vitmae").items():
        (tmp_path / name).write_text(json.dumps(content))
    found, notes = ViTMAEForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(notes[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert found.config.layer_norm_eps == 1e-6
    assert found.config.norm_pix_loss
    assert_same_predictions(model, found.eval())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.modalities.image.tokenizer.input_size=[32, 16]", "only squares for photographs; the model has 32 x 16"),
        ("model.modalities.image.decoder={name: cross_attention, width: 16, depth: 1, heads: 2}", "decoder 'vit'"),
    ],
)
def test_models_that_transformers_does_not_have(override, message):
    with pytest.raises(MaeError, match=message):
        files_beside(ours(override), layout="hf-vitmae")
