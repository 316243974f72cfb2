"""Pictures drawn by rule: the same words give the same picture."""

from __future__ import annotations

import hashlib
import io
import textwrap

from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIZE = 640
LABEL_SHARE = 0.16
RGB = tuple[int, int, int]


class Dice:
    """Numbers that depend on a text alone."""

    def __init__(self, seed: str) -> None:
        self._bytes = hashlib.shake_256(seed.encode("utf-8", "replace")).digest(1024)
        self._at = 0

    def between(self, low: float, high: float) -> float:
        """Return the next number from low to high."""
        value = int.from_bytes(self._bytes[self._at : self._at + 2])
        self._at = (self._at + 2) % len(self._bytes)
        return low + (high - low) * value / 0xFFFF

    def color(self, low: int = 30, high: int = 240) -> RGB:
        """Return the next color."""
        return (int(self.between(low, high)), int(self.between(low, high)), int(self.between(low, high)))


def draw(prompt: str, label: str, size: int = SIZE) -> Image.Image:
    """Draw a landscape of lights and hills that depends on the prompt, with a label below.

    Args:
        prompt: What the picture depends on.
        label: What is written on it.
        size: Width and height in pixels.

    Returns:
        The picture, in RGB.
    """
    dice = Dice(prompt)
    picture = _sky(dice, size)
    _lights(picture, dice)
    _hills(picture, dice)
    _write(picture, label)
    return picture


def to_png(picture: Image.Image) -> bytes:
    """Return a picture as a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _sky(dice: Dice, size: int) -> Image.Image:
    top = Image.new("RGB", (size, size), dice.color(10, 120))
    bottom = Image.new("RGB", (size, size), dice.color(120, 250))
    return Image.composite(bottom, top, Image.linear_gradient("L").resize((size, size)))


def _lights(picture: Image.Image, dice: Dice) -> None:
    size = picture.width
    glow = Image.new("RGBA", picture.size)
    pen = ImageDraw.Draw(glow)
    for _ in range(9):
        x, y, radius = dice.between(0, size), dice.between(0, size * 0.7), dice.between(size / 40, size / 7)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*dice.color(150, 255), 110))
    picture.paste(glow, mask=glow.filter(ImageFilter.GaussianBlur(size / 160)))


def _hills(picture: Image.Image, dice: Dice) -> None:
    size = picture.width
    pen = ImageDraw.Draw(picture)
    for layer in range(3):
        height = size * (0.55 + 0.13 * layer)
        ridge = [(size * x / 8, height + dice.between(-0.09, 0.05) * size) for x in range(9)]
        shade = 110 - 35 * layer
        pen.polygon([(0, size), *ridge, (size, size)], fill=dice.color(shade // 2, shade))


def _write(picture: Image.Image, label: str) -> None:
    size = picture.width
    band = Image.new("RGBA", (size, int(size * LABEL_SHARE)), (0, 0, 0, 150))
    font = ImageFont.load_default(size=max(10, size // 34))
    ImageDraw.Draw(band).multiline_text(
        (size // 40, size // 60), textwrap.fill(label, 58, max_lines=4), font=font, fill=(255, 255, 255, 255)
    )
    picture.paste(band, (0, size - band.height), band)
