"""What this plugin registers. Imports no torch."""

from mae_registry import hookimpl
from mae_registry.hookspecs import Register

MAE_API = 1


@hookimpl
def register_encoders(register: Register) -> None:
    """data2vec 2.0's blocks with the norm behind, and Hiera's stages."""
    register("hiera", "mae_methods.hiera.encoder:HieraEncoder")


@hookimpl
def register_decoders(register: Register) -> None:
    """I-JEPA's predictor, data2vec 2.0's convolutions, Hiera's decoder, SatMAE's head for each group of bands."""


@hookimpl
def register_targets(register: Register) -> None:
    """Latents of a teacher, and the pixels of Hiera and SatMAE."""
    register("jepa_latents", "mae_methods.jepa.target:JepaLatents")
    register("hiera_pixels", "mae_methods.hiera.target:HieraPixels")


@hookimpl
def register_certificates(register: Register) -> None:
    """One for each method."""
    register("jepa", "mae_methods.jepa.certificate:certify")
    register("hiera", "mae_methods.hiera.certificate:certify")


@hookimpl
def register_layouts(register: Register) -> None:
    """Names and shapes of the published checkpoints."""
    register("jepa", "mae_methods.jepa.layouts:JepaLayout")
    register("hiera", "mae_methods.hiera.layouts:HieraLayout")
    register("hiera_video", "mae_methods.hiera.layouts:HieraVideoLayout")
