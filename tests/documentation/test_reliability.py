"""The page on reliability names tests that exist, for every promise."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text("utf-8")


def test_each_promise_names_tests_that_exist():
    """Every row of the first table ends with files of this folder, and they hold tests."""
    table = PAGE.split("| --- | --- |")[1].split("\n\n")[0]
    rows = [row for row in table.splitlines() if row.startswith("|")]
    assert len(rows) == 12
    for row in rows:
        files = re.findall(r"`(tests/[\w/]+\.py)`", row)
        assert files, row
        assert all("def test_" in (ROOT / name).read_text("utf-8") for name in files), row
