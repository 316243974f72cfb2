"""Models that draw, film or compose: the address as text, and a block for each file."""

import asyncio

import pytest
from langchain_core.messages import AIMessage
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from support.wire_server import WireServer, answer

from langchain_rockai import ChatRockAI, RockAILLM
from llama_index_rockai import RockAI
from rockai_sandbox.models.media import VIDEO_VERSION
from rockai_transport import ConfigurationError, Dialect, HostedModel
from rockai_transport.adapters.files import output_files

FLUX, MUSICGEN, HERMES = "incomingflyingbrick/flux-1-schnell", "meta/musicgen", "my/hermes"
WAYS = ["call", "async", "sync", "streamed async"]
PNG = "https://files.example/a.png"


def answer_in(way, framework, llm, text="x"):
    """The whole answer, by one of the four ways to it."""
    if way == "call":
        return framework.answer(llm, text)
    if way == "async":
        return asyncio.run(
            llm.ainvoke(text) if framework.model_class is ChatRockAI else llm.achat([ChatMessage(text)])
        )
    return framework.whole(llm, text, way.removeprefix("streamed "))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("model", "kind", "ending"), [(FLUX, "image", ".png"), (MUSICGEN, "audio", ".wav")])
def test_a_model_answers_with_a_block_beside_its_address(framework, sandbox, model, kind, ending, way):
    """Called or streamed, sync or async: the text is the address, and the block has the same one."""
    text, file = framework.blocks(answer_in(way, framework, framework.make(model)))
    assert (text[0], file[0]) == ("text", kind)
    assert text[1] == file[1]
    assert file[1].endswith(ending)


@pytest.mark.parametrize("way", WAYS)
def test_a_video_is_made_of_an_image(framework, sandbox, way):
    """The image-to-video version, which is named by 64 digits alone, takes the picture as an input."""
    picture = framework.blocks(framework.answer(framework.make(FLUX), "x"))[1][1]
    llm = framework.make(VIDEO_VERSION, **{framework.extra: {"image": picture, "max_frames": 2}})
    kinds = [kind for kind, _ in framework.blocks(answer_in(way, framework, llm))]
    assert kinds == ["text", "video"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("route", ["run", "predictions"])
def test_several_files_are_several_blocks(framework, sandbox, way, route):
    """In the model's order, each by its own ending or data type; the text is what the model gave."""
    files = [PNG, "https://files.example/b.MP4?x=1", "data:audio/wav;base64,UklGRg=="]

    @sandbox.model("my/llama-3-instruct")
    def several(input):
        return files

    llm = framework.make("my/llama-3-instruct", route=route)
    text, *blocks = framework.blocks(answer_in(way, framework, llm))
    assert text == ("text", "".join(files))
    assert blocks == list(zip(["image", "video", "audio"], files, strict=True))


@pytest.mark.parametrize(
    "output",
    [
        "Look: " + PNG,
        PNG + " is it",
        [PNG, " and more"],
        ["https:", "//files.example/a.png"],
        {"image": PNG},
        "",
    ],
)
def test_an_answer_that_says_more_is_text(framework, sandbox, output):
    """Whatever the model is called: something beside whole addresses in the output makes it text."""

    @sandbox.model(HERMES)
    def talk(input):
        return output

    for way in WAYS:
        assert all(
            kind == "text" for kind, _ in framework.blocks(answer_in(way, framework, framework.make()))
        )


def test_a_file_that_a_stop_sequence_cut_is_none(framework, sandbox):
    """Its address is not whole any more."""

    @sandbox.model(HERMES)
    def draw(input):
        return PNG

    answer = framework.answer(framework.make(stop=[".png"]), "x")
    assert framework.blocks(answer) == [("text", PNG.removesuffix(".png"))]


@pytest.mark.parametrize(
    "output",
    [
        "https://files.example/page",
        "https://files.example/a.zip",
        "data:text/plain,hi",
        "http://[bad/a.png",
        "https://:99999/a.png",
        [1, PNG],
        [],
        None,
        3,
    ],
)
def test_no_image_no_video_no_audio(output):
    """Addresses of other things, and of nothing."""
    assert output_files(output) == []


def test_the_conversation_goes_on_with_the_address(framework, sandbox):
    """What a model drew is no input of the next one, which is told the address once, as text."""
    drawn = framework.answer(framework.make(FLUX), "x")
    address = framework.blocks(drawn)[1][1]
    sent = framework.next_input(framework.make(), drawn)
    assert sent["prompt"].count(address) == 1
    assert "image" not in framework.next_input(
        framework.make(dialect=Dialect.of(HERMES).replace(image_key="image")), drawn
    )


def test_another_provider_s_drawing_is_told_in_words(sandbox):
    """It stands in the history as blocks without a text."""
    drawn = AIMessage([{"type": "image", "url": PNG}])
    assert (
        f"[image: {PNG}]" in ChatRockAI(model=HERMES).preview(["Draw.", drawn, "Go on."])["input"]["prompt"]
    )
    blocks = [TextBlock(text="Here:"), ImageBlock(url=PNG)]
    history = [ChatMessage("Draw."), ChatMessage(role="assistant", blocks=blocks), ChatMessage("Go on.")]
    assert f"Here:\n[image: {PNG}]" in RockAI(model=HERMES).preview(history)["input"]["prompt"]


def test_core_s_own_forms_have_the_blocks_too(sandbox):
    """Content as standard blocks, and version 3 of the events: two images are not merged into one."""

    @sandbox.model(HERMES)
    def two(input):
        return [PNG, PNG]

    blocks = [{"type": "image", "url": PNG, "mime_type": "image/png"}] * 2
    llm = ChatRockAI(model=HERMES, output_version="v1")
    assert llm.invoke("x").content[1:] == blocks
    chunks = list(llm.stream("x"))
    for content in (sum(chunks[1:], chunks[0]).content, llm.stream_events("x", version="v3").output.content):
        assert [{**block, "index": at} for at, block in enumerate(blocks, 2000)] == content[1:]


@pytest.mark.parametrize("messages", [[[PNG, PNG + "?2"]], [[PNG], [PNG + "?2"]]])
def test_several_images_in(framework, sandbox, messages):
    """As many as the dialect says that the model takes, in one message or in several; not one more."""
    dialect = Dialect.of(HERMES).replace(image_key="images", max_images=2)
    llm = framework.make(dialect=dialect)
    assert framework.images_input(llm, *messages)["images"] == [PNG, PNG + "?2"]
    with pytest.raises(ConfigurationError, match="takes 2 image"):
        framework.images_input(llm, *messages, [PNG])
    assert framework.images_input(llm, [PNG])["images"] == [PNG]


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")  # core's own workflows
@pytest.mark.parametrize("image_key", [None, "image"])
def test_rich_content_never_ends_an_agent_s_run(framework, sandbox, image_key):
    """A tool's image blocks are told in words to every model, whether it takes images or not."""
    asked = []
    call = '<tool_call>{"name": "paint", "arguments": {"prompt": "x"}}</tool_call>'

    @sandbox.model(HERMES)
    def talk(input):
        asked.append(input)
        yield call if len(asked) == 1 else "Done."

    painter = HostedModel("paint", FLUX, "Paints.", output="image")
    toolkit = framework.toolkit_class([painter], rich_content=True, **sandbox_settings(sandbox))
    llm = framework.make(dialect=Dialect.of(HERMES).replace(image_key=image_key))
    assert framework.run_agent(llm, toolkit) == "Done."
    assert ".png" in asked[1]["prompt"]
    assert "image" not in asked[1]


def sandbox_settings(sandbox):
    return {"api_token": sandbox.api_token, "base_url": sandbox.base_url}


@pytest.fixture(params=[RockAILLM, RockAI])
def completions(request, sandbox):
    """A function that gives a model's answer as text alone: at once, and streamed."""

    def ask() -> list[str]:
        if request.param is RockAILLM:
            llm = RockAILLM(model=HERMES)
            return [llm.invoke("x"), "".join(llm.stream("x"))]
        model = RockAI(model=HERMES, context_window=4096)
        chunks = list(model.stream_complete("x"))
        assert "".join(chunk.delta for chunk in chunks) == chunks[-1].text
        return [model.complete("x").text, chunks[-1].text]

    return ask


def test_several_files_of_a_completion_are_on_lines_of_their_own(sandbox, completions):
    """An output that is a list of addresses: as one text they would run together."""

    @sandbox.model(HERMES)
    def draw(input):
        return ["https://files.example/1.png", "https://files.example/2.png"]

    assert completions() == ["https://files.example/1.png\nhttps://files.example/2.png"] * 2


def test_so_they_are_if_the_service_has_no_stream_for_them():
    """Then the whole output comes as one piece."""
    addresses = ["https://files.example/1.png", "https://files.example/2.png"]
    done = answer(201, {"id": "p1", "status": "succeeded", "output": addresses})
    with WireServer() as server:
        server.route("POST /v1/predictions", done, done)
        given = {"model": HERMES, "base_url": server.base_url, "api_token": "t", "route": "predictions"}
        assert "".join(RockAILLM(**given).stream("x")) == "\n".join(addresses)
        [*_, last] = RockAI(**given, context_window=4096).stream_complete("x")
        assert last.text == "\n".join(addresses)


@pytest.mark.parametrize(
    "pieces",
    [
        ["https://", "https://", "b.example"],
        ["See ", "https://a.example/1", "https://b.example/2"],
        ["https://a.example/1", ",", "https://b.example/2", "https://c.example/3"],
    ],
)
def test_addresses_in_a_text_get_no_line_breaks(sandbox, completions, pieces):
    """A text comes out exactly as the model said it, though tokens of it look like addresses."""

    @sandbox.model(HERMES)
    def talk(input):
        yield from pieces

    assert completions() == ["".join(pieces)] * 2
