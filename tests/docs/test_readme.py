"""What README.md says beside the examples that tests/test_docs.py runs."""

import re

import pytest
from documents import ROOT

README = ROOT / "README.md"


@pytest.mark.parametrize("cell", re.findall(r"^\| (`.*?`) \|", README.read_text(), re.M))
def test_every_path_in_the_table_exists(cell):
    for name in re.findall(r"`(.*?)`", cell):
        assert (ROOT / name).exists() or (ROOT / "mae_core" / name).exists(), name
