"""Rule-based pictures: the same text gives the same picture."""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Mapping

from PIL import Image, ImageColor, ImageDraw, ImageFilter

from rockai_sandbox.models import captions

SIZE = 640
RGB = tuple[int, int, int]
CHINESE_COLORS: Mapping[str, str] = {
    "红": "red",
    "橙": "orange",
    "黄": "yellow",
    "绿": "green",
    "蓝": "blue",
    "紫": "purple",
    "粉": "pink",
    "金": "gold",
    "银": "silver",
    "白": "white",
}


class Dice:
    """Pseudo-random numbers from a text: the same text gives the same numbers."""

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


def named_colors(text: str) -> list[RGB]:
    """Return the colors that a text names, such as gold in «golden», except black, which would hide all."""
    names = [
        CHINESE_COLORS.get(word, word.removesuffix("en"))
        for word in re.findall(r"[a-z]+|[^\W\d_]", text.lower())
    ]
    return [ImageColor.getrgb(name)[:3] for name in names if name in ImageColor.colormap and name != "black"]


def draw(prompt: str, label: str, size: int = SIZE) -> Image.Image:
    """Draw a landscape of lights and hills from the prompt, with a label below.

    Args:
        prompt: The text that determines the picture.
        label: The text written on it.
        size: Width and height in pixels.

    Returns:
        The picture, in RGB.
    """
    dice = Dice(prompt)
    picture = _sky(dice, size)
    lights(picture, prompt)
    _hills(picture, dice)
    captions.write(picture, label)
    return picture


def to_png(picture: Image.Image) -> bytes:
    """Return a picture as a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _sky(dice: Dice, size: int) -> Image.Image:
    top = Image.new("RGB", (size, size), dice.color(90, 190))
    bottom = Image.new("RGB", (size, size), dice.color(180, 250))
    return Image.composite(bottom, top, Image.linear_gradient("L").resize((size, size)))


def lights(picture: Image.Image, prompt: str, at: float = 0.0) -> None:
    """Draw lights into a picture, in the colors that the prompt names, otherwise in colors derived from it.

    Args:
        picture: The picture to draw into.
        prompt: The text that determines them.
        at: How far they have moved on their circles, from 0 to 1.
    """
    width, height = picture.size
    dice, named = Dice(prompt), named_colors(prompt)
    glow = Image.new("RGBA", picture.size)
    pen = ImageDraw.Draw(glow)
    for number in range(9):
        radius, turn = dice.between(width / 40, width / 8), math.tau * (at + dice.between(0, 1))
        x = dice.between(0, width) + radius * math.cos(turn)
        y = dice.between(0, height * 0.7) + radius * math.sin(turn)
        color = named[number % len(named)] if named else dice.color(150, 255)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*color, 120))
    # Blurred as a small picture, which takes a third of the time and looks the same.
    small = glow.getchannel("A").reduce(4).filter(ImageFilter.GaussianBlur(width / 640))
    mask = small.resize(picture.size, Image.Resampling.BILINEAR)
    picture.paste(glow, mask=mask)


def _hills(picture: Image.Image, dice: Dice) -> None:
    size = picture.width
    pen = ImageDraw.Draw(picture)
    for layer in range(3):
        height = size * (0.55 + 0.13 * layer)
        ridge = [(size * x / 8, height + dice.between(-0.09, 0.05) * size) for x in range(9)]
        shade = 180 - 35 * layer
        pen.polygon([(0, size), *ridge, (size, size)], fill=dice.color(shade // 2, shade))
