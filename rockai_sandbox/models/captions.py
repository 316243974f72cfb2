"""Captions: the whole text in a band at the bottom of a picture, in glyphs that the font has."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import as_file, files
from typing import Any

from PIL import Image, ImageDraw, ImageFont

SHARE = 0.16
"""The band's height, as a share of the picture's."""
SIMPLIFIED = 2
"""The index of the collection's font for simplified Chinese."""
SMALLEST = 9
NO_GLYPH = "\uffff"
"""No font has a glyph for this character, so it shows what a font draws for a missing glyph."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@cache
def fonts(size: int) -> tuple[Font, ...]:
    """Return the fonts of a size, the preferred one first: Pillow's own, and one with Chinese glyphs."""
    own = ImageFont.load_default(size=size)
    try:
        with as_file(files("noto_cjk_sans_otc") / "NotoSansCJK-Regular.ttc") as path:
            return own, ImageFont.truetype(path, size, SIMPLIFIED)
    except (ImportError, OSError):
        return (own,)


@cache
def has_glyph(font: Font, character: str) -> bool:
    """Whether a font can draw a character."""
    mask: Any = font.getmask
    return character.isspace() or bytes(mask(character)) != bytes(mask(NO_GLYPH))


def choose_font(text: str, size: int) -> tuple[Font, str]:
    """Return the font with most of a text's glyphs, and the text without the missing ones."""
    drawn = {font: "".join(one for one in text if has_glyph(font, one)) for font in fonts(size)}
    font = max(drawn, key=lambda one: len(drawn[one]))
    return font, " ".join(drawn[font].split())


def wrap(text: str, font: Font, width: int) -> list[str]:
    """Break a text into lines of at most ``width`` pixels, between words and between Chinese characters."""
    lines = [""]
    for part in re.findall(r"[\u2e80-\uffff]|[^\s\u2e80-\uffff]{1,24}\s*|\s+", text):
        if font.getlength(lines[-1] + part.rstrip()) > width and lines[-1]:
            lines.append("")
        lines[-1] += part
    return [line.rstrip() for line in lines]


def write(picture: Image.Image, text: str) -> None:
    """Write a text into the band of a picture, as large as fits; at the smallest size it may be cut off."""
    width, height = picture.width, int(picture.height * SHARE)
    margin = width // 40
    band = Image.new("RGB", (width, height), "whitesmoke")
    size = max(SMALLEST, width // 32)
    while True:
        font, drawn = choose_font(text, size)
        lines, room = wrap(drawn, font, width - 2 * margin), int((height - margin) / (1.4 * size))
        if len(lines) <= room or size == SMALLEST:
            break
        size -= 1
    if len(lines) > room:
        lines = [*lines[: room - 1], lines[room - 1] + "…"] if room > 0 else []
    for at, line in enumerate(lines):
        ImageDraw.Draw(band).text((margin, margin // 2 + at * 1.4 * size), line, "black", font)
    picture.paste(band, (0, picture.height - height))
