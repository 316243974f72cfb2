"""Images, videos and sound: real files from rule-based models."""

from __future__ import annotations

import array
import hashlib
import io
import math
import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import av
from PIL import Image, UnidentifiedImageError

from rockai_sandbox.inputs import Inputs, integer, number, text, url
from rockai_sandbox.models import captions
from rockai_sandbox.models.drawing import Dice, draw, lights, to_png
from rockai_sandbox.registry import Model, made_up_version
from rockai_sandbox.runs import Run

IMAGE_MODEL = "incomingflyingbrick/flux-1-schnell"
VIDEO_VERSION = "5821a338d00033abaaba89080a17eb8783d9a17ed710a6b4246a18e0900ccad4"
VIDEO_MODEL = "sandbox/image-to-video"  # an invented name: the quick start gives only the version
MUSIC_MODEL = "meta/musicgen"

SECONDS_OF_VIDEO = 4
FRAMES = 48
LONGEST_SIDE = 640
SHORTEST_SIDE = 64
SAMPLE_RATE = 16_000
SECONDS_OF_MUSIC = 2.0
SCALE = (220.0, 246.9, 261.6, 293.7, 329.6, 392.0, 440.0)

IMAGE_INPUTS: Inputs = {"prompt": text(required=True)}
VIDEO_INPUTS: Inputs = {
    "image": url(required=True),
    "prompt": text(required=True),
    "max_frames": integer(at_least=2, at_most=240),
    "guidance_scale": number(),
    "num_inference_steps": integer(at_least=1, at_most=500),
}
MUSIC_INPUTS: Inputs = {
    "prompt": text(required=True),
    "model_version": text(),
    "output_format": text(),
    "normalization_strategy": text(),
}


MOST_KEPT = 16
_made: dict[tuple[Any, ...], bytes] = {}
"""What a video shows → the video: tests ask for the same one again and again, and it takes a second."""


def make_image(given: dict[str, Any]) -> list[bytes]:
    """Draw the prompt."""
    prompt: str = given["prompt"]
    return [_made_once((prompt,), lambda: to_png(draw(prompt, f"RockAI sandbox, drawn by rule: {prompt}")))]


def make_video(given: dict[str, Any], run: Run, *, seconds: float) -> bytes:
    """Animate an image: the requested number of frames in four seconds; the logs have a progress bar."""
    picture = read_picture(given["image"], run)
    steps = int(given.get("num_inference_steps", 50))
    frames = int(given.get("max_frames", FRAMES))
    strength = min(max(float(given.get("guidance_scale", 9)), 1.0), 20.0) / 100
    for step in range(steps):
        run.progress(step, steps)
        run.pause(seconds / steps)
    run.progress(steps, steps)
    run.log("\n")
    size = frame_size(picture)
    shown = (hashlib.sha256(picture.tobytes()).digest(), picture.size, given["prompt"], frames, strength)
    return _made_once(
        shown,
        lambda: encode(animate(picture, given["prompt"], size, frames, strength), size, frames, run),
    )


def _made_once(shown: tuple[Any, ...], make: Callable[[], bytes]) -> bytes:
    """Return the file that shows this; only the latest few are kept."""
    if (made := _made.get(shown)) is None:
        made = make()
        if len(_made) >= MOST_KEPT:
            _made.clear()
        _made[shown] = made
    return made


def make_music(given: dict[str, Any]) -> bytes:
    """Return notes derived from the prompt as a WAV file."""
    if given.get("output_format", "wav") != "wav":
        raise ValueError("the sandbox writes wav only")
    dice = Dice(given["prompt"])
    notes = [SCALE[int(dice.between(0, len(SCALE) - 1))] for _ in range(8)]
    length = int(SAMPLE_RATE * SECONDS_OF_MUSIC / len(notes))
    samples = array.array("h")
    for note in notes:
        samples.extend(
            int(9000 * math.sin(2 * math.pi * note * at / SAMPLE_RATE) * (1 - at / length))
            for at in range(length)
        )
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(samples.tobytes())
    return file.getvalue()


_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF")


def read_picture(url: str, run: Run) -> Image.Image:
    """Read an image from a ``data:`` URI or our file server; draw a placeholder for any other address.

    A placeholder is also drawn for a file that begins like an image but is not one: tests use such files.

    Raises:
        ValueError: The file is not an image.
    """
    content = run.read(url)
    if content is None:
        return draw(url, f"placeholder: the sandbox does not leave this machine to fetch {url}")
    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        if content.startswith(_SIGNATURES):
            return draw(url, "placeholder: an image of which only the beginning is there")
        raise ValueError(f"the input image cannot be read: {error}") from error


def animate(
    picture: Image.Image, prompt: str, size: tuple[int, int], frames: int, strength: float
) -> Iterator[Image.Image]:
    """Yield the frames of a slow zoom and pan through the picture, with moving lights and a fixed caption.

    Args:
        picture: The picture; the caption covers its lower part.
        prompt: The text of the caption, which also determines the lights.
        size: The frames' width and height.
        frames: The number of frames.
        strength: The extent of the zoom, as a share of the picture.
    """
    captioned = Image.new("RGB", size)
    captions.write(captioned, f"RockAI sandbox, animated by rule: {prompt}")
    shown = 1 - captions.SHARE
    view = (size[0], size[1] - int(size[1] * captions.SHARE))
    for number_ in range(frames):
        at = number_ / max(1, frames - 1)
        zoom = 1 - strength * (1 - math.cos(math.pi * at))
        width, height = picture.width * zoom, picture.height * shown * zoom
        left = (picture.width - width) * (0.5 + 0.4 * math.sin(2 * math.pi * at))
        top = (picture.height * shown - height) * 0.5
        moved = picture.resize(view, Image.Resampling.BILINEAR, (left, top, left + width, top + height))
        lights(moved, prompt, at)
        frame = captioned.copy()
        frame.paste(moved)
        yield frame


def encode(frames: Iterator[Image.Image], size: tuple[int, int], count: int, run: Run) -> bytes:
    """Return frames as an MP4 file with H.264 video, which every browser can play."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(count, SECONDS_OF_VIDEO))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23"}
        for image in frames:
            run.check()
            container.mux(stream.encode(av.VideoFrame.from_image(image)))  # type: ignore[no-untyped-call]
        container.mux(stream.encode())
    return file.getvalue()


def frame_size(picture: Image.Image) -> tuple[int, int]:
    """Return a video's width and height for a picture: even, because yuv420p halves them, and limited."""
    scale = min(1.0, LONGEST_SIDE / max(picture.size))
    width, height = (max(SHORTEST_SIDE, int(side * scale)) // 2 * 2 for side in picture.size)
    return width, height


def media_models(*, video_seconds: float) -> tuple[Model, ...]:
    """Return the models that produce files."""
    video = partial(make_video, seconds=video_seconds)
    return (
        Model(IMAGE_MODEL, made_up_version(IMAGE_MODEL), make_image, IMAGE_INPUTS),
        Model(VIDEO_MODEL, VIDEO_VERSION, video, VIDEO_INPUTS),
        Model(MUSIC_MODEL, made_up_version(MUSIC_MODEL), make_music, MUSIC_INPUTS),
    )
