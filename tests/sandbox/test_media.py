"""Image, video and sound are real files; the machine is never left."""

import base64
import io
import re
import wave

import av
import httpx
import pytest
from PIL import Image, ImageChops, ImageStat

from rockai_sandbox import Sandbox
from rockai_sandbox.models.captions import SHARE, choose_font

IMAGE = "incomingflyingbrick/flux-1-schnell"
VIDEO = "5821a338d00033abaaba89080a17eb8783d9a17ed710a6b4246a18e0900ccad4"


def animate(sandbox, api, **given):
    body = {"version": VIDEO, "input": {"prompt": "blinking", **given}}
    created = api.post("/predictions", json=body).json()
    return sandbox.wait_for(lambda it: it.predictions[-1].is_terminal and it.predictions[-1], 30), created


def data_uri(*size):
    """A picture; a small one makes a video that is soon encoded."""
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def frames_of(url):
    with av.open(io.BytesIO(httpx.get(url).content)) as container:
        (stream,) = container.streams
        assert container.format.name.startswith("mov,mp4")
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        return [frame.to_image() for frame in container.decode(stream)]


def test_a_prompt_becomes_a_png_that_depends_on_it_alone(sandbox, api):
    """The same words give the same picture, other words another."""
    urls = [
        api.post("/run", json={"model": IMAGE, "input": {"prompt": prompt}}).json()
        for prompt in ("a fox", "a fox", "a crow")
    ]
    first, again, other = (httpx.get(url).content for (url,) in urls)
    assert first == again != other
    with Image.open(io.BytesIO(first)) as picture:
        assert (picture.format, picture.size) == ("PNG", (640, 640))


@pytest.mark.parametrize("frames", [2, 17])
def test_an_image_becomes_an_mp4_of_exactly_as_many_frames(sandbox, api, frames):
    """H.264 in yuv420p, the frames counted by decoding them; they move."""
    (image,) = api.post("/run", json={"model": IMAGE, "input": {"prompt": "a fox"}}).json()
    prediction, _ = animate(sandbox, api, image=image, max_frames=frames)
    pictures = frames_of(prediction.output)
    assert len(pictures) == frames
    assert pictures[0].size == (640, 640)
    assert pictures[0].tobytes() != pictures[-1].tobytes()


@pytest.mark.parametrize("frames", [{}, {"max_frames": 2}, {"max_frames": 16}, {"max_frames": 240}])
def test_a_video_takes_three_to_five_seconds(sandbox, api, frames):
    """However many frames are asked for."""
    prediction, _ = animate(sandbox, api, image=data_uri(64, 64), **frames)
    with av.open(io.BytesIO(httpx.get(prediction.output).content)) as container:
        assert 3 <= container.duration / av.time_base <= 5


def test_the_caption_stands_still_and_no_frame_is_dark(sandbox, api):
    """The prompt of the video stands below it from the first frame to the last, while the rest moves."""
    (image,) = api.post("/run", json={"model": IMAGE, "input": {"prompt": "a fox"}}).json()
    videos = [animate(sandbox, api, image=image, prompt=said, max_frames=12)[0] for said in ("hop", "run")]
    frames = [frames_of(video.output) for video in videos]
    width, height = frames[0][0].size
    above, below = (0, 0, width, int(height * (1 - SHARE))), (0, int(height * (1 - SHARE)) + 8, width, height)

    def change(one, other, box):
        return ImageStat.Stat(ImageChops.difference(one.crop(box), other.crop(box)).convert("L")).rms[0]

    first = frames[0][0]
    assert all(change(first, later, below) < 3 for later in frames[0])
    assert change(first, frames[0][6], above) > 10
    assert change(first, frames[1][0], below) > 3  # another prompt is another caption
    brightness = [ImageStat.Stat(frame.convert("L")).mean[0] for frame in frames[0]]
    assert min(brightness) > 100
    assert max(brightness) - min(brightness) < 20


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("a red fox", "a red fox"),
        ("一只瓷猫，坐在灯塔旁。", "一只瓷猫，坐在灯塔旁。"),
        ("a 瓷猫 by Löwe", "a 瓷猫 by Löwe"),
        ("a fox \U0001f98a runs", "a fox runs"),
    ],
)
def test_a_caption_has_no_boxes_in_place_of_glyphs(text, drawn):
    """Chinese has its font; what no font has is left out."""
    font, words = choose_font(text, 20)
    assert words == drawn
    assert all(bytes(font.getmask(one)) != bytes(font.getmask("\uffff")) for one in words.replace(" ", ""))


@pytest.mark.parametrize(("size", "expected"), [((101, 51), (100, 64)), ((2000, 1000), (640, 320))])
def test_an_image_of_any_size_gives_a_video_of_even_size(sandbox, api, size, expected):
    """Given as a data URI; yuv420p needs even sides."""
    prediction, _ = animate(sandbox, api, image=data_uri(*size), max_frames=2)
    assert frames_of(prediction.output)[0].size == expected


@pytest.mark.parametrize("content", ["text", None, 5])
def test_a_file_that_is_no_bytes_is_refused_at_once(sandbox, content):
    """And the next one is stored: nothing of it was kept."""
    with pytest.raises(TypeError, match="content is bytes"):
        sandbox.add_file(content)
    assert sandbox.add_file(b"x").startswith(sandbox.files_url)


def test_a_file_needs_a_started_sandbox():
    """Before that, its address would be a path without a server."""
    with pytest.raises(RuntimeError, match="before it is started"):
        Sandbox().add_file(b"x")


@pytest.mark.parametrize("media_type", [None, 5, ["image/png"], "a\n", "é€"])
def test_a_type_that_no_header_can_hold_is_refused_at_once(sandbox, media_type):
    """Not when a client asks for the file."""
    with pytest.raises(ValueError, match=r"^media_type is Latin-1 text without line breaks"):
        sandbox.add_file(b"x", media_type)


def test_the_first_bytes_of_an_image_are_enough(sandbox, api):
    """A test's file need not be a whole image; the video shows a placeholder."""
    url = sandbox.add_file(b"\x89PNG\r\n\x1a\n", "image/png")
    prediction, _ = animate(sandbox, api, image=url, max_frames=2)
    assert len(frames_of(prediction.output)) == 2


@pytest.mark.parametrize("image", ["statue.png", "/home/me/statue.png", "C:\\statue.png", "", "ftp://x/y"])
def test_a_file_name_where_an_address_belongs_is_a_422(api, image):
    """In pydantic's words, as of the service."""
    body = {"version": VIDEO, "input": {"image": image, "prompt": "x"}}
    answer = api.post("/predictions", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"] in {"url_parsing", "url_scheme"}
    assert answer.json()["detail"][0]["loc"] == ["body", "input", "image"]


@pytest.mark.parametrize("image", ["data:image/png;base64,AAAA", "data:image/png;base64,!", "data:nothing"])
def test_an_image_that_cannot_be_read_is_the_prediction_s_failure(sandbox, api, image):
    """Its error says why."""
    prediction, _ = animate(sandbox, api, image=image)
    assert prediction.status == "failed"
    assert re.search("cannot be read|bad base64|needs a comma", prediction.error)


@pytest.mark.parametrize("missing", ["image", "prompt"])
def test_a_video_needs_image_and_prompt(api, missing):
    """Without either the answer is 422."""
    given = {"image": "https://example.com/x.png", "prompt": "blink"}
    del given[missing]
    answer = api.post("/predictions", json={"version": VIDEO, "input": given})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "input", missing]


def test_the_logs_are_tqdm_s(sandbox, api):
    """One bar for each step, each after a carriage return, from 0 % to 100 %."""
    prediction, _ = animate(
        sandbox, api, image="https://example.com/x.png", num_inference_steps=20, max_frames=2
    )
    bars = prediction.logs.rstrip("\n").split("\r")[1:]
    assert len(bars) == 21
    for step, bar in enumerate(bars):
        speed = r"\[\d\d:\d\d<(\d\d:\d\d|\?), +(\d+\.\d\d|\?)it/s\]"
        assert re.fullmatch(rf" *{step * 5}%\|[ ▏▎▍▌▋▊▉█]{{10}}\| {step}/20 {speed}", bar)


def test_a_video_can_be_canceled_half_way(connect):
    """Its logs stop where it was, and there is no output."""
    with Sandbox(video_seconds=60) as sandbox, connect(sandbox) as api:
        body = {"version": VIDEO, "input": {"image": "https://example.com/x.png", "prompt": "blink"}}
        created = api.post(
            "/predictions", json={**body, "input": {**body["input"], "num_inference_steps": 500}}
        ).json()
        sandbox.wait_for(lambda it: "| 2/500" in it.predictions[0].logs)
        canceled = api.post(f"/predictions/{created['id']}/cancel").json()
    assert (canceled["status"], canceled["output"]) == ("canceled", None)
    assert "500/500" not in sandbox.predictions[0].logs


def test_music_is_a_wav_file(api):
    """Two seconds of it; no other format is written, and the failure says so."""
    url = api.post("/run", json={"model": "meta/musicgen", "input": {"prompt": "calm"}}).json()
    with wave.open(io.BytesIO(httpx.get(url).content)) as sound:
        assert sound.getnframes() == 2 * sound.getframerate()
    given = {"prompt": "calm", "output_format": "mp3"}
    assert api.post("/run", json={"model": "meta/musicgen", "input": given}).status_code == 500
