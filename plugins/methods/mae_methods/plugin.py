"""What this plugin registers. Imports no torch."""

from mae_registry import hookimpl
from mae_registry.hookspecs import Register

MAE_API = 1


@hookimpl
def register_tokenizers(register: Register) -> None:
    """SatMAE's groups of spectral bands."""
    register("satmae_bands", "mae_methods.satmae.bands:GroupedBands")


@hookimpl
def register_positions(register: Register) -> None:
    """SatMAE's positions of a place with its group of bands, and of a place with the date of its image."""
    register("satmae_groups", "mae_methods.satmae.positions:GroupPositions")
    register("satmae_dates", "mae_methods.satmae.positions:DatePositions")


@hookimpl
def register_encoders(register: Register) -> None:
    """data2vec 2.0's blocks with the norm behind, and Hiera's stages."""
    register("data2vec", "mae_methods.data2vec.encoder:Data2VecEncoder")
    register("hiera", "mae_methods.hiera.encoder:HieraEncoder")


@hookimpl
def register_decoders(register: Register) -> None:
    """data2vec 2.0's convolutions, and SatMAE's head for each group of bands."""
    register("data2vec", "mae_methods.data2vec.decoder:Data2VecDecoder")
    register("satmae_groups", "mae_methods.satmae.decoder:GroupDecoder")


@hookimpl
def register_targets(register: Register) -> None:
    """Latents of a teacher, and the pixels of Hiera and SatMAE."""
    register("jepa_latents", "mae_methods.jepa.target:JepaLatents")
    register("data2vec_layers", "mae_methods.data2vec.target:Data2VecLayers")
    register("hiera_pixels", "mae_methods.hiera.target:HieraPixels")
    register("satmae_pixels", "mae_methods.satmae.target:GroupPixels")


@hookimpl
def register_terms(register: Register) -> None:
    """The loss of data2vec 2.0's extra token."""
    register("data2vec_class_token", "mae_methods.data2vec.target:Data2VecClassToken")


@hookimpl
def register_datasets(register: Register) -> None:
    """Folders of satellite images for SatMAE, and made-up ones to try it with."""
    register("satmae_bands_folder", "mae_methods.satmae.datasets:BandFolder")
    register("satmae_dates_folder", "mae_methods.satmae.datasets:DatedFolder")
    register("satmae_synthetic_bands", "mae_methods.satmae.demo:SyntheticBands")
    register("satmae_synthetic_dates", "mae_methods.satmae.demo:SyntheticDates")


@hookimpl
def register_layouts(register: Register) -> None:
    """Names and shapes of the published checkpoints."""
    register("jepa", "mae_methods.jepa.layouts:JepaLayout")
    register("satmae_group", "mae_methods.satmae.layouts:GroupLayout")
    register("satmae_temporal", "mae_methods.satmae.layouts:TemporalLayout")
    register("data2vec", "mae_methods.data2vec.layouts:Data2VecLayout")
    register("hiera", "mae_methods.hiera.layouts:HieraLayout")
    register("hiera_video", "mae_methods.hiera.layouts:HieraVideoLayout")


@hookimpl
def register_modalities(register: Register) -> None:
    """SatMAE's two kinds of satellite images: of many spectral bands, and of one place at several dates."""
    register("multispectral", "mae_methods.satmae.modality:MULTISPECTRAL")
    register("dated_images", "mae_methods.satmae.modality:DATED_IMAGES")


@hookimpl
def register_certificates(register: Register) -> None:
    """One for each method."""
    register("jepa", "mae_methods.jepa.certificate:certify")
    register("satmae", "mae_methods.satmae.certificate:certify")
    register("data2vec", "mae_methods.data2vec.certificate:certify")
    register("hiera", "mae_methods.hiera.certificate:certify")
