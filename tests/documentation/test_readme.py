"""The code in both READMEs, run as a newcomer would run it, on the sandbox."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

# LlamaIndex looks at all members of its pydantic classes, deprecated ones too (workflows/utils.py).
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:inspect")

ROOT = Path(__file__).resolve().parents[2]
READMES = ("README.md", "README.zh-CN.md")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")


def blocks(name: str, language: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def headings(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^#+ ", text, re.MULTILINE)


@pytest.mark.parametrize("name", READMES)
def test_every_block_of_python_runs(name, rockai_sandbox, tmp_path, monkeypatch, capsys):
    """Each block runs by itself, in an empty folder, with no more than the environment set."""
    monkeypatch.chdir(tmp_path)
    found = blocks(name, "python")
    assert len(found) >= 5
    for number, block in enumerate(found):
        exec(compile(block, f"{name}, block {number}", "exec"), {"__name__": "readme"})
    assert "steamed hams" in capsys.readouterr().out.lower()
    assert list((tmp_path / "out").glob("*.png"))


@pytest.mark.parametrize(("name", "home"), [("README.md", "index.md"), ("README.zh-CN.md", "zh/index.md")])
def test_it_is_short_and_says_first_what_was_not_seen(name, home):
    """At most 150 lines; what was not checked, and the doctor, are the first paragraph, on the site too."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    note = next(part for part in text.split("\n\n") if part.startswith("> "))
    assert "python -m rockai_transport doctor" in note
    assert (ROOT / "docs" / home).read_text(encoding="utf-8").split("\n\n")[1] == note
    assert text.index(note) < text.index("![")


def test_the_picture_is_small_and_needs_no_network():
    """The picture of the demo is a file of the repository below 60 kB, which loads nothing from elsewhere."""
    [picture] = {found for name in READMES for found in PICTURE.findall((ROOT / name).read_text("utf-8"))}
    text = (ROOT / picture).read_text("utf-8")
    assert len(text) < 60_000
    assert not re.search(r"(?:href|src|url|@import)\W{1,4}(?:https?:)?//", text)


def test_the_two_readmes_say_the_same():
    """The Chinese README has the same sections, and the same code but for words that a person reads."""
    assert headings("README.md") == headings("README.zh-CN.md")

    def bare(block: str) -> str:
        return re.sub(r'#.*|"[^"]*"', "", block)

    english, chinese = (["".join(map(bare, blocks(name, "python")))] for name in READMES)
    assert english == chinese


@pytest.mark.parametrize("name", READMES)
def test_links_lead_somewhere(name):
    """Every relative link of a README names a file of the repository."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", text):
        assert (ROOT / target).exists(), target
