import pytest
import torch

from mae_core import build_model, export_state_dict, import_state_dict, load_config
from mae_registry import MaeError


def small(recipe, **video):
    parts = {
        "tokenizer": {"input_size": [4, 32, 32]},
        "decoder": {"width": 16, "depth": 1, "heads": 2},
        "masker": {"ratio": 0.5},
        **video,
    }
    encoder = {"width": 24, "depth": 1, "heads": 2}
    return build_model(
        load_config({"extends": f"video/{recipe}", "model": {"encoder": encoder, "modalities": {"video": parts}}})
    )


@pytest.mark.parametrize(
    ("recipe", "layout", "options"),
    [("videomae_base", "videomae", {}), ("mae_st_base", "mae_st", {"target": {"num_frames": 2}})],
)
def test_a_round_trip_through_the_published_names_changes_no_prediction(recipe, layout, options):
    torch.manual_seed(0)
    model, other = small(recipe, **options), small(recipe, **options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    import_state_dict(other, export_state_dict(model, layout=layout), layout=layout)
    x = torch.rand(2, 3, 4, 32, 32)
    masks = model.draw_masks(["video"], 2)
    out, same = (m({"video": x}, masks=masks).pred["video"] for m in (model, other))
    # key biases, which VideoMAE has none of, do not matter
    assert torch.allclose(out, same, atol=1e-5)


def test_what_does_not_fit_is_named():
    model = small("videomae_base")
    state = export_state_dict(model, layout="videomae")
    with pytest.raises(MaeError, match=r"the checkpoint has cls_token, for which this model has no place"):
        import_state_dict(model, {**state, "cls_token": torch.zeros(1)}, layout="videomae")
    weight = state.pop("encoder_to_decoder.weight")
    with pytest.raises(MaeError, match=r"the checkpoint lacks encoder_to_decoder\.weight"):
        import_state_dict(model, state, layout="videomae")
    flat = {**state, "encoder_to_decoder.weight": weight, "encoder.patch_embed.proj.weight": torch.zeros(24, 1536)}
    with pytest.raises(
        MaeError,
        match=r"encoder\.patch_embed\.proj\.weight has the shape \(24, 1536\); .* it must be \(D, C, 2, 16, 16\)",
    ):
        import_state_dict(model, flat, layout="videomae")
