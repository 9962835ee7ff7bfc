"""The core's own components, registered through the hooks that every plugin uses. Imports no torch."""

from mae_registry import hookimpl
from mae_registry.hookspecs import Register

MAE_API = 1


@hookimpl
def register_positions(register: Register) -> None:
    """Positions of any grid."""
    register("sincos", "mae_core.parts.positions:SinCos")
    register("learned", "mae_core.parts.positions:Learned")
    register("none", "mae_core.parts.positions:NoPositions")


@hookimpl
def register_maskers(register: Register) -> None:
    """Maskers of any grid."""
    register("random", "mae_core.masking:RandomMasker")
    register("none", "mae_core.masking:NoMasker")
    register("block", "mae_core.masking:BlockMasker")
    register("inverse_block", "mae_core.masking:InverseBlockMasker")
    register("multi_block", "mae_core.masking:MultiBlockMasker")
    register("grid", "mae_core.masking:GridMasker")
    register("dirichlet", "mae_core.masking:DirichletMasker")


@hookimpl
def register_encoders(register: Register) -> None:
    """Vision-transformer blocks over the visible tokens."""
    register("vit", "mae_core.parts.vit_encoder:ViTEncoder")


@hookimpl
def register_decoders(register: Register) -> None:
    """Vision-transformer blocks over context and queries."""
    register("vit", "mae_core.parts.vit_decoder:ViTDecoder")
    register("cross_attention", "mae_core.parts.cross_decoder:CrossDecoder")


@hookimpl
def register_targets(register: Register) -> None:
    """The patches themselves, their largest coefficients, and their tokens."""
    register("pixels", "mae_core.parts.pixels:Pixels")
    register("pca", "mae_core.parts.principal_components:PrincipalComponents")
    register("tokens", "mae_core.parts.tokens:Tokens")


@hookimpl
def register_quantizers(register: Register) -> None:
    """The nearest of a number of patches."""
    register("codebook", "mae_core.parts.tokens:Codebook")


@hookimpl
def register_heads(register: Register) -> None:
    """Classifiers of what an encoder returned."""
    register("linear", "mae_core.parts.heads:LinearHead")
    register("attentive", "mae_core.parts.heads:AttentiveHead")


@hookimpl
def register_optimizers(register: Register) -> None:
    """AdamW and LARS, as in the published recipes."""
    register("adamw", "mae_core.parts.optimizers:adamw")
    register("lars", "mae_core.parts.optimizers:lars")


@hookimpl
def register_schedules(register: Register) -> None:
    """Warm-up and half a cosine, as in the published recipes."""
    register("cosine", "mae_core.parts.schedules:Cosine")


@hookimpl
def register_tasks(register: Register) -> None:
    """Masked pre-training, and classification with or without its result."""
    register("pretrain", "mae_core.tasks.pretraining:Pretraining")
    register("classify", "mae_core.tasks.classification:Classification")
