"""What this plugin registers. Imports no torch."""

from mae_registry import hookimpl
from mae_registry.hookspecs import Register

MAE_API = 1


@hookimpl
def register_tokenizers(register: Register) -> None:
    """Clips as a grid of tubelets."""
    register("tubelets", "mae_video.tokenizer:Tubelets")


@hookimpl
def register_positions(register: Register) -> None:
    """Positions of VideoMAE and of MAE-ST."""
    register("flat_sincos", "mae_video.positions:FlatSinCos")
    register("separable", "mae_video.positions:Separable")


@hookimpl
def register_maskers(register: Register) -> None:
    """Encoder and decoder masking of VideoMAE V2."""
    register("running_cell", "mae_video.masking:RunningCellMasker")


@hookimpl
def register_targets(register: Register) -> None:
    """Targets of VideoMAE and of MAE-ST."""
    register("channel_pixels", "mae_video.targets:ChannelPixels")
    register("frame_pixels", "mae_video.targets:FramePixels")


@hookimpl
def register_datasets(register: Register) -> None:
    """Folders of videos, and clips made of the photographs that scikit-image carries."""
    register("video_folder", "mae_video.datasets:VideoFolder")
    register("moving_photographs", "mae_video.demo:MovingPhotographs")


@hookimpl
def register_layouts(register: Register) -> None:
    """The names of the published checkpoints; VideoMAE V2's are VideoMAE's."""
    register("hf-videomae", "mae_video.hugging_face:HuggingFaceVideoMaeLayout")
    register("videomae", "mae_video.layouts:VideoMaeLayout")
    register("mae_st", "mae_video.layouts:MaeStLayout")


@hookimpl
def register_modalities(register: Register) -> None:
    """Video."""
    register("video", "mae_video.modality:VIDEO")


@hookimpl
def register_certificates(register: Register) -> None:
    """The published numbers of VideoMAE, VideoMAE V2 and MAE-ST."""
    register("video", "mae_video.certificate:certify")
