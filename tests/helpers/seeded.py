"""A pytest plugin: every test starts from the same random numbers, whichever tests ran before it in its process."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
