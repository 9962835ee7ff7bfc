"""Names and shapes of Hiera's released pre-training checkpoints."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from mae_core.interfaces import Layout
from mae_core.model.autoencoder import MaskedAutoencoder
from mae_methods.hiera.encoder import HieraEncoder
from mae_registry import MaeError, some_of
