"""Arrays that belong to a file of data, as NumPy writes them (.npy): the extras of samples."""

import io

import numpy as np
import torch
from torch import Tensor

from mae_core.data.files import Content, one_line
from mae_core.interfaces import BadSample


def read_array(file: Content) -> Tensor:
    """The array. Raises BadSample for what is no array of numbers; pickled objects are refused."""
    try:
        return torch.from_numpy(np.lib.format.read_array(io.BytesIO(file.data), allow_pickle=False))
    except Exception as error:  # whatever damaged bytes lead to
        raise BadSample(f"{file.name}: it is not an array of numbers in a .npy file: {one_line(error)}") from error
