"""Take some patches of each sample."""

from torch import Tensor


def gather_patches(x: Tensor, ids: Tensor) -> Tensor:
    """(B, N, D), (B, K) -> (B, K, D)."""
    return x.gather(1, ids.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
