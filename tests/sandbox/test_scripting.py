"""Scripting a model: every way in which a function can answer."""

import base64
import functools
import math
import re
import sys

import httpx
import pytest

from rockai_sandbox import Input

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def run(api, reference, given=None):
    return api.post("/run", json={"model": reference, "input": given or {}})


def test_a_generator_yields_the_pieces_of_a_text(sandbox, api):
    """They are the output, as a list."""

    @sandbox.model("my/model")
    def talk(given):
        yield from ("Hello ", given["prompt"], "\n")

    assert run(api, "my/model", {"prompt": "Ada"}).json() == ["Hello ", "Ada", "\n"]


def test_an_asynchronous_generator_does_too(sandbox, api):
    """It runs on the sandbox's own loop."""

    @sandbox.model("my/model")
    async def talk(given):
        yield "a"
        yield "b"

    assert run(api, "my/model").json() == ["a", "b"]


@pytest.mark.parametrize("output", ["text", ["a", "b"], {"key": [1, None]}, 7, None])
def test_a_function_returns_an_output_of_any_kind(sandbox, api, output):
    """What JSON can say comes back as it is."""

    @sandbox.model("my/model")
    def give(given):
        return output

    assert run(api, "my/model").json() == output


def test_a_coroutine_function_returns_one_too(sandbox, api):
    """As a plain function does."""

    @sandbox.model("my/model")
    async def give(given):
        return "text"

    assert run(api, "my/model").json() == "text"


def test_an_output_that_is_no_text_is_streamed_as_json(sandbox, api):
    """A list gives one event for each item, anything else one event."""
    outputs = iter(({"a": 1}, ["x", 2], "text", None))

    @sandbox.model("my/model")
    def give(given):
        return next(outputs)

    body = {"model": "my/model", "input": {}}
    end = "event: done\ndata: {}\n\n"
    assert api.post("/run_sse", json=body).text == f'event: output\ndata: {{"a": 1}}\n\n{end}'
    assert (
        api.post("/run_sse", json=body).text == f"event: output\ndata: x\n\nevent: output\ndata: 2\n\n{end}"
    )
    assert api.post("/run_sse", json=body).text == f"event: output\ndata: text\n\n{end}"
    assert api.post("/run_sse", json=body).text == end


def test_raising_is_the_prediction_s_failure(sandbox, api):
    """The message is its error, the trace is in its logs."""

    @sandbox.model("my/model")
    def fail(given):
        raise ValueError("out of memory")

    run(api, "my/model")
    assert sandbox.predictions[0].status == "failed"
    assert sandbox.predictions[0].error == "out of memory"
    assert "ValueError: out of memory" in sandbox.predictions[0].logs


def test_stop_iteration_is_a_failure_like_any_other(sandbox, api):
    """Python treats it specially; a test that raises it must still see a failure."""

    @sandbox.model("my/model")
    def fail(given):
        raise StopIteration

    assert run(api, "my/model").status_code == 500
    assert sandbox.wait_for("failed").error == "the model raised StopIteration"


@pytest.mark.parametrize("kind", ["function", "coroutine", "generator"])
@pytest.mark.parametrize(
    "end", [lambda: pytest.fail("not so"), lambda: sys.exit("not so")], ids=["fail", "exit"]
)
def test_what_is_no_exception_is_a_failure_too(sandbox, api, kind, end):
    """An assertion of pytest's, or an exit, ends the prediction, and not the sandbox."""

    def function(given):
        end()

    async def coroutine(given):
        end()

    def generator(given):
        yield "a"
        end()

    sandbox.model("my/model")({"function": function, "coroutine": coroutine, "generator": generator}[kind])
    for _ in range(2):
        assert run(api, "my/model").status_code == 500
    assert [prediction.error for prediction in sandbox.predictions] == ["not so"] * 2


def test_half_a_character_is_a_question_mark(sandbox, api):
    """In JSON as in a stream: a client is answered."""
    sandbox.model("my/model")(lambda given: "a\ud800")
    assert run(api, "my/model").json() == "a?"
    assert "data: a?\n" in api.post("/run_sse", json={"model": "my/model", "input": {}}).text


@pytest.mark.parametrize("output", [object(), math.nan], ids=["object", "NaN"])
def test_what_json_cannot_say_is_the_model_s_failure(sandbox, api, output):
    """It does not break the server."""

    @sandbox.model("my/model")
    def give(given):
        return output

    assert run(api, "my/model").status_code == 500
    assert re.search("not JSON (serializable|compliant)", sandbox.predictions[0].error)


def test_bytes_become_files_on_another_origin(sandbox, api):
    """At any depth, and yielded too; the file server asks for no token and gets none to see."""

    @sandbox.model("my/model")
    def draw(given):
        return {"images": [PNG, b"anything"]}

    image, other = run(api, "my/model").json()["images"]
    assert image.endswith(".png")
    assert httpx.URL(image).port != httpx.URL(sandbox.base_url).port
    answer = httpx.get(image)
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")
    assert httpx.get(other).headers["content-type"] == "application/octet-stream"
    assert httpx.get(f"{sandbox.files_url}/nothing").status_code == 404
    assert [request.headers.get("authorization") for request in sandbox.file_requests] == [None, None, None]
    assert sandbox.file_requests[0].path == httpx.URL(image).path


def test_a_file_as_output_is_served(sandbox, api, tmp_path):
    """A path and an open file, as a model at the service returns them; an open file is not read by lines."""
    (tmp_path / "a.png").write_bytes(PNG)

    @sandbox.model("my/model")
    def draw(given):
        path = tmp_path / "a.png"
        return path if given["as"] == "path" else path.open("rb")

    for kind in ("path", "open"):
        url = api.post("/run", json={"model": "my/model", "input": {"as": kind}}).json()
        assert url.endswith(".png")
        assert httpx.get(url).content == PNG


def test_a_second_parameter_is_the_run(sandbox, api):
    """It logs, reports progress as tqdm does, and saves files."""

    @sandbox.model("my/model")
    def work(given, run):
        run.log("loading\n")
        run.progress(9, 20)
        return run.save(PNG)

    url = run(api, "my/model").json()
    logs = sandbox.predictions[0].logs
    assert logs.startswith("loading\n\r 45%|████▌     | 9/20 [00:00<00:00, ")
    assert re.search(r"it/s]$", logs)
    assert httpx.get(url).content == PNG


def test_a_model_can_read_what_it_is_given(sandbox, api):
    """Data URIs and the sandbox's own files are read; no other address is ever fetched."""
    own = sandbox.add_file(b"own", "text/plain")
    urls = [own, "data:text/plain;base64,aGk=", "data:,a%20b", "https://example.com/x.png"]

    @sandbox.model("my/model")
    def read(given, run):
        found = [run.read(url) for url in urls]
        return [None if one is None else one.decode() for one in found]

    assert run(api, "my/model").json() == ["own", "hi", "a b", None]


def test_a_held_model_is_freed_by_its_gate(sandbox, api):
    """No clock is involved: the model waits, the test looks, the gate opens."""
    gate = sandbox.hold()

    @sandbox.model("my/model")
    def talk(given):
        gate.wait()
        return "at last"

    created = api.post("/predictions", json={"model": "my/model", "input": {}}).json()
    gate.wait_until_reached()
    assert sandbox.predictions[0].status == "processing"
    gate.set()
    assert sandbox.wait_for("succeeded").output == "at last"
    assert created["id"] == sandbox.predictions[0].id


def test_an_asynchronous_model_is_held_too(sandbox, api):
    """With `await run.opened(gate)`; a cancellation frees it."""
    gate = sandbox.hold()

    @sandbox.model("my/model")
    async def talk(given, run):
        yield "a"
        await run.opened(gate)
        yield "b"

    created = [api.post("/predictions", json={"model": "my/model", "input": {}}).json() for _ in range(2)]
    gate.wait_until_reached(2)
    api.post(f"/predictions/{created[0]['id']}/cancel")
    gate.set()
    assert sandbox.wait_for("succeeded").output == ["a", "b"]
    assert sandbox.wait_for("canceled").output == ["a"]


def test_a_gate_that_nobody_reaches_is_a_time_out(sandbox):
    """The message counts the arrivals."""
    with pytest.raises(TimeoutError, match="reached 0 of 1 times"):
        sandbox.hold().wait_until_reached(timeout=0.01)


@pytest.mark.parametrize("wrong", [{"times": -1}, {"times": None}, {"timeout": None}, {"timeout": math.inf}])
def test_a_gate_is_not_waited_for_without_end(sandbox, wrong):
    """A number of arrivals and a number of seconds, and no other."""
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} is a .*, 0 or more, not "):
        sandbox.hold().wait_until_reached(**wrong)


def test_a_canceled_model_sees_it_and_cleans_up(sandbox, api):
    """A generator's finally block runs, and the prediction keeps what was said."""
    cleaned = sandbox.hold()
    gate = sandbox.hold()

    @sandbox.model("my/model")
    def talk(given):
        try:
            yield "a"
            gate.wait()
        finally:
            cleaned.set()

    created = api.post("/predictions", json={"model": "my/model", "input": {}}).json()
    gate.wait_until_reached()
    assert api.post(f"/predictions/{created['id']}/cancel").json()["output"] == ["a"]
    assert sandbox.wait_for(lambda _: cleaned.is_set())


def test_a_script_takes_the_place_of_a_built_in_model(sandbox, api):
    """The newest entry of a name wins, under every version."""

    @sandbox.model("meta/llama-2-7b-chat")
    def talk(given):
        return "scripted"

    version = "f1d50bb24186c52daae319ca8366e53debdaa9e0ae7ff976e918df752732ccc4"
    assert run(api, "meta/llama-2-7b-chat").json() == "scripted"
    assert run(api, f"meta/llama-2-7b-chat:{version}").json() == "scripted"


def test_a_scripted_model_can_be_strict_about_its_inputs(sandbox, api):
    """Given a table of inputs, it answers 422 as the built-in ones do."""

    @sandbox.model("my/model", inputs={"prompt": Input("string", required=True)})
    def talk(given):
        return "ok"

    assert run(api, "my/model", {"prompt": "x"}).json() == "ok"
    assert run(api, "my/model", {"promt": "x"}).status_code == 422


def test_a_reference_of_no_known_form_cannot_be_scripted(sandbox):
    """It could never be asked for."""
    with pytest.raises(ValueError, match="neither owner/name"):
        sandbox.model("model")


def test_a_forgotten_reference_is_told(sandbox):
    """`@sandbox.model` without parentheses says how to write it."""
    with pytest.raises(TypeError, match=r'^write @sandbox\.model\("owner/name"\)'):

        @sandbox.model
        def talk(given):
            return "hi"


def test_a_function_that_does_not_take_the_input_cannot_be_scripted(sandbox, api):
    """It is refused when it is scripted, by its name, and not by a 500 on each run."""

    def none():
        return "hi"

    def three(given, run, more):
        return "hi"

    async def named(*, given):
        yield "hi"

    for function in (none, three, named):
        message = rf"^{function.__name__} cannot be a model \(.*\): it has to take the prediction's input"
        with pytest.raises(TypeError, match=message):
            sandbox.model("my/model")(function)
    with pytest.raises(TypeError, match=r"^'hi' cannot be a model \(.*not a callable"):
        sandbox.model("my/model")("hi")
    assert run(api, "my/model").status_code == 404


def test_what_takes_the_input_can_be_scripted_whatever_it_wraps(sandbox, api):
    """What is called is looked at: a decorator's wrapper, not the function in it; a method, an object."""

    def hello():
        return "hi"

    class Talker:
        def __call__(self, given):
            return "hi"

    @functools.wraps(hello)
    def wrapper(given):
        return hello()

    for function in (wrapper, Talker(), Talker().__call__, lambda *given: "hi"):
        sandbox.model("my/model")(function)
        assert run(api, "my/model").json() == "hi"


def test_what_hides_that_it_is_asynchronous_works_too(sandbox, api):
    """A lambda around a coroutine function, or around an asynchronous generator."""

    async def answer(prompt):
        return prompt

    async def talk(prompt):
        yield prompt

    sandbox.model("my/answer")(lambda given: answer(given["prompt"]))
    sandbox.model("my/talk")(lambda given: talk(given["prompt"]))
    assert run(api, "my/answer", {"prompt": "x"}).json() == "x"
    assert run(api, "my/talk", {"prompt": "x"}).json() == ["x"]


def test_a_parameter_with_a_default_is_the_models_own(sandbox, api):
    """The run is given to a second parameter without one, or to one of that name."""

    @sandbox.model("my/own")
    def own(given, greeting="hi"):
        return greeting

    @sandbox.model("my/run")
    def named(given, run=None):
        return type(run).__name__

    assert run(api, "my/own").json() == "hi"
    assert run(api, "my/run").json() == "Run"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "string", "at_least": 1},
        {"kind": "bool"},
        {"kind": []},
        {"kind": "integer", "required": "no"},
        {"kind": "integer", "at_least": "1"},
        {"kind": "number", "at_most": math.nan},
    ],
)
def test_an_input_that_cannot_be_checked_is_refused(wrong):
    """When it is described, not by a request."""
    with pytest.raises(ValueError, match=r"for numbers|kind is one of|is True or False|is a number, or None"):
        Input(**wrong)


@pytest.mark.parametrize("inputs", [["prompt"], {"prompt": "string"}, {"prompt": str}, {1: Input("url")}, ""])
def test_inputs_that_cannot_be_checked_are_refused(sandbox, inputs):
    """When the model is scripted, not by a 500 on each run; the message shows how to write them."""
    with pytest.raises(
        ValueError, match=r'^inputs is a mapping of names to Input, such as {"prompt": Input\('
    ):
        sandbox.model("my/model", inputs=inputs)
