"""Images as a modality: the parts of He et al. (2022), ViT-B/16, as defaults."""

from mae_core.interfaces import Modality

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
    draw="mae_image.pictures:draw",
    certify="mae_image.certificate:certify",
    file_suffixes=(".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"),
)
