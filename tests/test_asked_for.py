"""docs/examples.md names pages and tests: they are there."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "examples.md"
ROWS = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "][1:]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:30])
def test_every_line_has_a_page_and_a_test_that_are_there(row: str) -> None:
    _, _, page, tests, _ = row.split("|")
    (link,) = re.findall(r"\]\(([\w-]+\.md)\)", page)
    assert (PAGE.parent / link).exists()
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", tests)
    assert named
    for file, name in named:
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert name in {part.name for part in tree.body if isinstance(part, ast.FunctionDef)}
