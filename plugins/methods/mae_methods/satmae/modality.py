"""SatMAE's satellite images as modalities: the parts of Cong et al. (2022) as defaults."""

from mae_core.interfaces import Modality

MULTISPECTRAL = Modality(
    name="multispectral",
    defaults={
        "tokenizer": {"name": "satmae_bands", "input_size": [96, 96], "patch_size": [8, 8]},
        "positions": {"name": "satmae_groups", "group_width": 256},
        "masker": {"name": "random", "ratio": 0.75},
        "decoder": {"name": "satmae_groups", "width": 512, "depth": 8, "heads": 16},
        "decoder_positions": {"name": "satmae_groups", "group_width": 128, "class_token": True},
        "target": {"name": "satmae_pixels"},
    },
    read="mae_methods.satmae.reading:read_bands",
    picture="mae_methods.satmae.pictures:write_bands",
    file_suffixes=(".npy", ".tif", ".tiff"),
)

DATED_IMAGES = Modality(
    name="dated_images",
    defaults={
        "tokenizer": {"name": "tubelets", "input_size": [3, 224, 224], "patch_size": [1, 16, 16], "init": "xavier"},
        "positions": {"name": "satmae_dates", "unit_width": 128},
        "masker": {"name": "random", "ratio": 0.75},
        "decoder": {"name": "vit", "width": 512, "depth": 8, "heads": 16},
        "decoder_positions": {"name": "satmae_dates", "unit_width": 64},
        "target": {"name": "pixels", "normalize": "none"},
    },
    read="mae_methods.satmae.reading:read_dated",
    picture="mae_methods.satmae.pictures:write_dated",
    file_suffixes=(".npz",),
)
