"""What this plugin registers. Imports no torch."""

from mae_registry import hookimpl
from mae_registry.hookspecs import Register

MAE_API = 1


@hookimpl
def register_tokenizers(register: Register) -> None:
    """Images as a grid of square or oblong patches."""
    register("image_patches", "mae_image.tokenizer:ImagePatches")
    register("depth_patches", "mae_image.scenes:DepthPatches")
    register("semseg_patches", "mae_image.scenes:SemsegPatches")


@hookimpl
def register_targets(register: Register) -> None:
    """MultiMAE's: a class for every pixel; pixels plain and normalised."""
    register("classes", "mae_image.scenes:Classes")
    register("twin_pixels", "mae_image.twin:TwinPixels")


@hookimpl
def register_decoders(register: Register) -> None:
    """MultiMAE's two decoders of a photograph."""
    register("twin", "mae_image.twin:TwinDecoder")


@hookimpl
def register_datasets(register: Register) -> None:
    """Folders of photographs, depth maps and labels, CIFAR-10, and the photographs that scikit-image carries."""
    register("image_folder", "mae_image.datasets:ImageFolder")
    register("depth_folder", "mae_image.datasets:DepthFolder")
    register("semseg_folder", "mae_image.datasets:SemsegFolder")
    register("cifar10", "mae_image.datasets:Cifar10")
    register("photographs", "mae_image.demo:Photographs")


@hookimpl
def register_layouts(register: Register) -> None:
    """The names of published MAE and MultiMAE checkpoints, of MAE's classifiers, and of the models of timm and transformers."""
    register("hf-vitmae", "mae_image.hugging_face:HuggingFaceVitMaeLayout")
    register("mae", "mae_image.layouts:MaeLayout")
    register("mae_vit", "mae_image.layouts:MaeVitLayout")
    register("multimae", "mae_image.multimae:MultiMaeLayout")
    register("timm", "mae_image.layouts:TimmLayout")


@hookimpl
def register_modalities(register: Register) -> None:
    """Images, and what comes with them in MultiMAE."""
    register("image", "mae_image.modality:IMAGE")
    register("depth", "mae_image.modality:DEPTH")
    register("semseg", "mae_image.modality:SEMSEG")


@hookimpl
def register_certificates(register: Register) -> None:
    """The published numbers of MAE and of MultiMAE."""
    register("image", "mae_image.certificate:certify")
    register("multimae", "mae_image.multimae_certificate:certify")
