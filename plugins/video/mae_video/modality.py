"""Video as a modality: the parts of VideoMAE (Tong et al. 2022), ViT-B/16, as defaults."""

from mae_core.interfaces import Modality

VIDEO = Modality(
    name="video",
    defaults={
        "tokenizer": {"name": "tubelets", "input_size": [16, 224, 224], "patch_size": [2, 16, 16], "channels": 3},
        "positions": {"name": "flat_sincos"},
        "masker": {"name": "random", "over": ["h", "w"], "ratio": 0.9, "truncate": "hidden"},
        "decoder": {"name": "vit", "width": 384, "depth": 4, "heads": 6, "embed_bias": False},
        "target": {"name": "channel_pixels"},
    },
    read="mae_video.clips:read_clip",
    picture="mae_video.pictures:write_picture",
    show="mae_video.pictures:write_sample",
    measure="mae_core.data.channels:measure_channels",
    file_suffixes=(".mp4", ".webm", ".mkv", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ogv"),
    labelled_folder="video_folder",
    recipes={"finetune": ("video/finetune_base",), "probe": ("video/attentive_probe_base",)},
)
