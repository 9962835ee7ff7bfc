"""Every test and benchmark that a page names as evidence is there."""

import ast
import re

import pytest
from documents import PAGES, ROOT

TESTS = re.compile(r"`((?:tests|plugins)/[\w/]+\.py)::(\w+)`")
SCRIPTS = re.compile(r"\bbench/\w+\.(?:py|sh)\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_evidence_is_there(page):
    text = page.read_text()
    for path, name in TESTS.findall(text):
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path}::{name}"
    missing = [script for script in SCRIPTS.findall(text) if not (ROOT / script).is_file()]
    assert not missing
