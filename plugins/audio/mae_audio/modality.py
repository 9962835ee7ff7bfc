"""Sounds as a modality: the parts of the published Audio-MAE (Huang et al. 2022), ViT-B/16 on AudioSet, as defaults."""

from mae_core.interfaces import Modality

AUDIO = Modality(
    name="audio",
    defaults={
        "tokenizer": {
            "name": "spectrogram_patches",
            "input_size": [1024, 128],
            "patch_size": [16, 16],
            "mean": -4.2677393,
            "std": 4.5689974,
        },
        "positions": {"name": "sincos_swapped"},
        "masker": {"name": "random", "ratio": 0.8},
        "decoder": {
            "name": "local_windows",
            "width": 512,
            "depth": 16,
            "heads": 16,
            "window": [4, 4],
            "shift": [2, 0],
        },
        "target": {"name": "pixels", "normalize": "patch"},
    },
    read="mae_audio.reading:read_spectrogram",
    picture="mae_audio.pictures:write_picture",
    show="mae_audio.pictures:write_sample",
    measure="mae_audio.statistics:measure",
    file_suffixes=(".wav", ".flac", ".ogg", ".mp3"),
    labelled_folder="audio_folder",
    recipes={"finetune": ("audio/finetune_base",), "probe": ("audio/linprobe_base",)},
)
