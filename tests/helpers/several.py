"""A model of two modalities: photographs, and depth maps that are made of them."""

from pathlib import Path

from PIL import Image

from mae_core import Config, load_config


def several_modalities(photos: Path, folder: Path, *, paired: bool, batch_size: int) -> Config:
    """Photographs and depth maps, masked together, or each in steps of its own."""
    depth = folder / "depth"
    depth.mkdir()
    for path in photos.iterdir():
        with Image.open(path) as photo:
            photo.convert("L").save(depth / f"{path.stem}.png")
    part = {
        "tokenizer": {"input_size": [32, 32], "patch_size": [8, 8]},
        "decoder": {"name": "cross_attention", "width": 32, "depth": 1, "heads": 2}
        if paired
        else {"name": "vit", "width": 32, "depth": 1, "heads": 2},
        **({} if paired else {"masker": {"name": "random", "ratio": 0.5}}),
    }
    joint = {"masker": {"name": "dirichlet", "num_keep": 8}} if paired else {}
    encoder = {"name": "vit", "width": 32, "depth": 2, "heads": 2}
    return load_config(
        {
            "model": {"encoder": encoder, **joint, "modalities": {"image": part, "depth": part}},
            "data": {
                "image": {"name": "image_folder", "root": str(photos)},
                "depth": {"name": "depth_folder", "root": str(depth)},
            },
            "optimizer": {"name": "adamw", "lr": 1e-3},
            "schedule": {"name": "cosine", "warmup_epochs": 0},
            "train": {"epochs": 1, "batch_size": batch_size, "num_workers": 0, "num_pictures": 0, "seed": 3},
        }
    )  # fmt: skip
