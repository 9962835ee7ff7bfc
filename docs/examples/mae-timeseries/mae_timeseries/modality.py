"""Time series as a modality. A recipe that names it starts from these defaults."""

from mae_core.interfaces import Modality

MODALITY = Modality(
    name="timeseries",
    defaults={
        "tokenizer": {"name": "timeseries_patches"},
        "positions": {"name": "sincos"},
        "masker": {"name": "timeseries_spans"},
        "decoder": {"name": "vit", "width": 64, "depth": 2, "heads": 4},
        "target": {"name": "pixels", "normalize": "none"},
    },
    read="mae_timeseries.reading:read",
    picture="mae_timeseries.pictures:write_picture",
    measure="mae_timeseries.reading:measure",
    file_suffixes=(".csv",),
)
