"""Images as a modality: the parts of He et al. (2022), ViT-B/16, as defaults."""

from mae_core.interfaces import KnownData, Modality

IMAGE = Modality(
    name="image",
    defaults={
        "tokenizer": {"name": "image_patches", "input_size": [224, 224], "patch_size": [16, 16], "channels": 3},
        "positions": {"name": "sincos"},
        "masker": {"name": "random", "ratio": 0.75},
        "decoder": {"name": "vit", "width": 512, "depth": 8, "heads": 16},
        "target": {"name": "pixels", "normalize": "patch"},
    },
    read="mae_image.reading:read_image",
    picture="mae_image.pictures:write_picture",
    show="mae_image.pictures:write_sample",
    measure="mae_core.data.channels:measure_channels",
    file_suffixes=(".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"),
    labelled_folder="image_folder",
    shrink="mae_image.shrinking:shrink",
    known_data=(KnownData("CIFAR-10", "cifar-10-batches-py", {"name": "cifar10", "split": "train"}, {"split": "test"}),),
    recipes={
        "finetune": ("image/finetune_base", "image/finetune_large", "image/finetune_huge"),
        "probe": ("image/linprobe_base", "image/linprobe_large", "image/linprobe_huge"),
    },
)

DEPTH = Modality(
    name="depth",
    defaults={
        "tokenizer": {"name": "depth_patches", "input_size": [224, 224], "patch_size": [16, 16]},
        "positions": {"name": "sincos", "leading": "first_axis"},
        "masker": {"name": "random", "ratio": 0.75},
        "decoder": {"name": "cross_attention", "width": 256, "depth": 2, "heads": 8},
        "target": {"name": "pixels", "normalize": "none", "error": "l1", "reduction": "sample"},
    },
    read="mae_image.scene_files:read_depth",
    picture="mae_image.pictures:write_picture",
    file_suffixes=(".png", ".tif", ".tiff"),
)

SEMSEG = Modality(
    name="semseg",
    defaults={
        "tokenizer": {"name": "semseg_patches", "input_size": [224, 224], "patch_size": [16, 16]},
        "positions": {"name": "sincos", "leading": "first_axis"},
        "masker": {"name": "random", "ratio": 0.75},
        "decoder": {"name": "cross_attention", "width": 256, "depth": 2, "heads": 8},
        "target": {"name": "classes"},
    },
    read="mae_image.scene_files:read_semseg",
    picture="mae_image.scene_files:write_semseg_picture",
    file_suffixes=(".png",),
)
