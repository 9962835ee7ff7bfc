"""What this plugin registers. Imports no torch."""

from mae_registry import hookimpl
from mae_registry.hookspecs import Register

MAE_API = 1


@hookimpl
def register_tokenizers(register: Register) -> None:
    """Log-mel spectrograms as a grid of patches."""
    register("spectrogram_patches", "mae_audio.tokenizer:SpectrogramPatches")


@hookimpl
def register_positions(register: Register) -> None:
    """The published positions, whose axes are swapped."""
    register("sincos_swapped", "mae_audio.positions:SwappedSinCos")


@hookimpl
def register_decoders(register: Register) -> None:
    """The published decoder of local, shifted windows."""
    register("local_windows", "mae_audio.decoder:LocalWindowsDecoder")


@hookimpl
def register_datasets(register: Register) -> None:
    """Folders of recordings, and sounds that are made up on the spot."""
    register("audio_folder", "mae_audio.datasets:AudioFolder")
    register("synthetic_sounds", "mae_audio.demo:SyntheticSounds")


@hookimpl
def register_layouts(register: Register) -> None:
    """The names of the published checkpoints, of pre-training and of fine-tuning."""
    register("audiomae", "mae_audio.layouts:AudioMaeLayout")
    register("audiomae_vit", "mae_audio.layouts:AudioMaeVitLayout")


@hookimpl
def register_modalities(register: Register) -> None:
    """Sounds."""
    register("audio", "mae_audio.modality:AUDIO")


@hookimpl
def register_certificates(register: Register) -> None:
    """The published numbers of Audio-MAE, of pre-training and of fine-tuning."""
    register("audio", "mae_audio.certificate:certify")
