"""`RockAI`: its constructor, its metadata, and what a call sends."""

import copy
import json
import pickle
import subprocess
import sys
import threading
import traceback
import warnings

import pytest
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
from llama_index.core.llms import ChatMessage
from pydantic import ValidationError
from with_llama_index.backends import TOKEN, RockAIBackend
from with_llama_index.conformance_kit import CallbackKeeper

import llama_index_rockai
from llama_index_rockai import Dialect, RockAI
from rockai_sandbox import Sandbox
from rockai_transport import (
    AsyncClient,
    AuthenticationError,
    BadRequestError,
    Client,
    ConfigurationError,
    PredictionFailedError,
    StreamInterruptedError,
)
from rockai_transport.prompting.request.jinja import JinjaTemplate
from rockai_transport.prompting.request.templates import TEMPLATES

LLAMA_2 = "meta/llama-2-7b-chat"
LLAMA_3 = "meta/meta-llama-3-70b-instruct"
MISTRAL = "mistralai/mistral-7b-instruct-v0.1"
ASKED = [ChatMessage(content="Hello")]


def unpickled(data):
    return pickle.loads(data)  # noqa: S301 - our own


class TestConstructor:
    @pytest.mark.parametrize(
        ("name", "nearest"),
        [
            ("temperatur", "temperature"),
            ("max_completion_tokens", "max_tokens"),
            ("modle", "model"),
            ("request_timeout", "timeout"),
        ],
    )
    def test_unknown_arguments_are_errors(self, name, nearest):
        """They name the nearest right one; pydantic alone would drop them without a word."""
        with pytest.raises(ConfigurationError, match=f"did you mean '{nearest}'"):
            RockAI(**{"model": LLAMA_2, name: 1})

    @pytest.mark.parametrize(
        ("alias", "name", "value"),
        [("api_base", "base_url", "https://example.com/v1"), ("model_name", "model", LLAMA_3)],
    )
    def test_other_names_are_understood(self, alias, name, value):
        """The names that other packages use."""
        assert (
            getattr(RockAI(**{"model": LLAMA_2, alias: value} if name != "model" else {alias: value}), name)
            == value
        )

    @pytest.mark.parametrize("alias", ["api_key", "rockai_api_token", "api_token"])
    def test_the_token_has_three_names(self, backend, alias):
        """All of them reach the service."""
        llm = RockAI(**{"model": LLAMA_2, "base_url": backend.sandbox.base_url, alias: TOKEN})
        assert llm.complete(backend.says("fine")).text == "fine"

    def test_two_names_for_one_argument_are_an_error(self):
        """Which of the two counts would be a guess."""
        with pytest.raises(ConfigurationError, match="another name for 'api_token'"):
            RockAI(model=LLAMA_2, api_token="a", api_key="b")  # noqa: S106 - made up

    @pytest.mark.parametrize(
        "wrong",
        [
            {"base_url": "http://example.com/v1"},
            {"timeout": -1},
            {"max_retries": -1},
            {"api_token": "two words"},
            {"api_token": 5},
            {"model": None},
            {"dialect": "lama-2"},
            {"chat_template": "{{ messages }}"},
            {"default_headers": {"X": "a\nb"}},
        ],
    )
    def test_what_no_call_could_use_is_refused_at_once(self, wrong):
        """Not at the first call."""
        with pytest.raises(ConfigurationError):
            RockAI(**{"model": LLAMA_2, **wrong})

    @pytest.mark.parametrize("tokens", [0, -4096])
    def test_a_context_window_has_tokens(self, tokens):
        """Core would cut every history to nothing."""
        with pytest.raises(ValidationError, match="context_window"):
            RockAI(model=LLAMA_2, context_window=tokens)

    def test_an_error_does_not_tell_the_token(self):
        """Pydantic would print what it was given."""
        for given in ({}, {"model": LLAMA_2, "client": TOKEN}):
            with pytest.raises((ConfigurationError, ValidationError)) as caught:
                RockAI(api_token=TOKEN, **given)
            assert TOKEN not in "".join(traceback.format_exception(caught.value))

    def test_what_only_a_client_takes_is_said_to_be_its(self):
        """The error shows how to hand one in."""
        with pytest.raises(ConfigurationError, match=r"client=Client\(service=…\)"):
            RockAI(model=LLAMA_2, service=None)

    def test_a_missing_token_is_told_at_the_first_call(self, sandbox):
        """Until then it may still come into the environment."""
        llm = RockAI(model=LLAMA_2, base_url=sandbox.base_url)
        with pytest.raises(ConfigurationError, match="ROCKAI_API_TOKEN"):
            llm.complete("Hello")

    def test_clients_can_be_handed_in(self, backend):
        """Nothing else is needed then but the model."""
        settings = {"api_token": TOKEN, "base_url": backend.sandbox.base_url}
        with Client(**settings) as client:
            llm = RockAI(model=LLAMA_2, client=client, async_client=AsyncClient(**settings))
            assert llm.complete(backend.says("fine")).text == "fine"

    async def test_an_async_client_can_be_handed_in(self, backend):
        """It serves the async methods."""
        async with AsyncClient(api_token=TOKEN, base_url=backend.sandbox.base_url) as client:
            llm = RockAI(model=LLAMA_2, async_client=client)
            assert (await llm.acomplete(backend.says("fine"))).text == "fine"

    def test_a_setting_can_be_changed(self, backend):
        """The next call uses it, on a client of its own; a copy does not see it."""
        llm = backend.llm()
        text = backend.says("fine")
        llm.complete(text)
        other = copy.copy(llm)
        other.api_token = "wrong"  # noqa: S105 - made up
        with pytest.raises(AuthenticationError):
            other.complete(text)
        assert llm.complete(text).text == "fine"

    def test_settings_reach_the_client(self, backend):
        """Headers and route, that is; a created prediction has an id."""
        response = backend.llm(route="predictions").complete(backend.says("fine"))
        assert [request.headers["x-test"] for request in backend.sandbox.requests]
        assert response.raw["prediction"]["id"] == backend.sandbox.predictions[0].id


class TestMetadata:
    def test_the_dialect_knows_the_context_window(self):
        """Unless it is given."""
        assert RockAI(model=LLAMA_2).metadata.context_window == 4096
        assert RockAI(model=LLAMA_2, context_window=2048).metadata.context_window == 2048

    def test_an_unknown_context_window_is_warned_of_once(self):
        """Core's default is taken."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            llm = RockAI(model="someone/something")
            assert {llm.metadata.context_window for _ in range(3)} == {DEFAULT_CONTEXT_WINDOW}
            assert RockAI(model="incomingflyingbrick/flux-1-schnell").metadata  # what draws cuts no histories
        assert [str(warning.message)[:42] for warning in caught] == [
            "The context window of someone/something is"
        ]

    def test_it_says_what_the_constructor_said(self):
        """Model, number of tokens, kind."""
        metadata = RockAI(
            model=LLAMA_2, max_tokens=77, is_chat_model=False, is_function_calling_model=False
        ).metadata
        assert (metadata.model_name, metadata.num_output) == (LLAMA_2, 77)
        assert (metadata.is_chat_model, metadata.is_function_calling_model) == (False, False)
        assert RockAI(model=LLAMA_2, additional_kwargs={"max_new_tokens": 9}).metadata.num_output == 9
        assert RockAI(model=LLAMA_2).metadata.num_output == 256


class TestCalls:
    def test_only_what_was_set_is_sent(self, backend):
        """A key that the model does not know would be a 422."""
        backend.llm().complete(backend.says("Hello"))
        assert backend.inputs == [{"prompt": "Hello"}]

    def test_parameters_are_spelt_as_the_model_does(self, backend):
        """The constructor's, a call's, which count more, and unchecked ones, which count most."""
        backend.says("fine")
        llm = backend.llm(temperature=0.5, max_tokens=10, additional_kwargs={"seed": 1})
        llm.complete("Hello", temperature=0.1, repetition_penalty=1.1, additional_kwargs={"seed": 2})
        assert backend.inputs == [
            {
                "prompt": "Hello",
                "temperature": 0.1,
                "max_new_tokens": 10,
                "repetition_penalty": 1.1,
                "seed": 2,
            }
        ]

    def test_a_call_can_choose_another_model(self, sandbox, backend):
        """Which then has its own dialect."""
        response = backend.llm(max_tokens=50).complete("Say: good morning", model=LLAMA_3)
        assert response.text == "good morning"
        assert sandbox.predictions[0].input == {"prompt": "Say: good morning", "max_tokens": 50}
        assert response.raw["prediction"]["model"] == LLAMA_3

    @pytest.mark.parametrize("wrong", [None, 3, ["Hello"], ChatMessage("Hello")])
    async def test_a_prompt_is_a_text(self, backend, wrong):
        """Anything else is refused before it is sent."""
        llm = backend.llm()
        with pytest.raises(ConfigurationError, match="A prompt must be a text"):
            llm.complete(wrong)
        with pytest.raises(ConfigurationError, match="A prompt must be a text"):
            await llm.astream_complete(wrong)
        assert backend.runs == 0

    @pytest.mark.parametrize("way", ["complete", "chat"])
    def test_unknown_parameters_are_refused_before_anything_is_sent(self, backend, way):
        """They name the nearest right one."""
        with pytest.raises(ConfigurationError, match="did you mean 'temperature'"):
            getattr(backend.llm(), way)("Hello" if way == "complete" else ASKED, temperatur=1)
        assert backend.runs == 0

    @pytest.mark.parametrize(
        "name", ["api_token", "api_key", "default_headers", "base_url", "callback_manager"]
    )
    async def test_settings_are_no_arguments_of_a_call(self, backend, name):
        """The token would be in core's events, or be sent to the model."""
        llm = backend.llm(dialect="plain")
        with pytest.raises(ConfigurationError, match=f"'{name}' is an argument of RockAI"):
            llm.chat(ASKED, **{name: "x"})
        with pytest.raises(ConfigurationError, match="not of a single call"):
            await llm.astream_complete("Hello", **{name: "x"})
        assert backend.runs == 0

    def test_preview_sends_nothing(self, backend):
        """It shows exactly what would be sent."""
        llm = backend.llm(temperature=0.5, system_prompt="Be brief.")
        shown = [llm.preview(ASKED), llm.preview("Hello", temperature=0.1)]
        assert backend.runs == 0
        backend.says("fine")
        llm.chat(ASKED)
        llm.complete("Hello", temperature=0.1)
        assert [show["input"] for show in shown] == backend.inputs
        assert shown[0]["model"] == LLAMA_2

    def test_preview_is_the_body(self, sandbox, tmp_path):
        """All that the route sends: names and versions its way, files as data URIs."""
        picture = tmp_path / "a.png"
        picture.write_bytes(b"\x89PNG\r\n\x1a\n")
        settings = {"api_token": sandbox.api_token, "base_url": sandbox.base_url, "context_window": 4096}
        for route in ("auto", "predictions"):
            llm = RockAI(model=f"sandbox/echo:{'5f' * 32}", route=route, **settings)
            shown = llm.preview("Hi", image=picture)
            llm.complete("Hi", image=picture)
            assert [request.json() for request in sandbox.requests if request.method == "POST"][-1] == shown

    @pytest.mark.parametrize(
        "wrong", [{"api_token": "secret"}, {"output_cls": dict}, {"stop": 5}, {"image": object()}]
    )
    def test_preview_refuses_what_a_call_refuses(self, backend, wrong):
        """It is no way around a check, and shows no token."""
        llm = backend.llm(dialect="plain", context_window=4096)
        for call in (llm.preview, llm.complete):
            with pytest.raises(ConfigurationError):
                call("Hi", **wrong)
        assert backend.runs == 0

    @pytest.mark.parametrize("model", ["", "nope", "a/b/c"])
    def test_a_model_that_cannot_be_is_refused_at_once(self, model):
        """Not by the first call only."""
        with pytest.raises(ConfigurationError, match="is not a model reference"):
            RockAI(model=model)

    async def test_errors_are_the_transports(self, sandbox, backend):
        """Unchanged, whichever method; a stream's come with its first chunk."""

        @sandbox.model(LLAMA_2)
        def fail(input):
            raise ValueError("out of memory")

        llm = backend.llm(route="predictions")
        with pytest.raises(PredictionFailedError, match="out of memory"):
            llm.chat(ASKED)
        with pytest.raises(PredictionFailedError):
            await llm.acomplete("Hello")
        with pytest.raises(StreamInterruptedError):
            list(llm.stream_complete("Hello"))
        with pytest.raises(StreamInterruptedError):
            _ = [chunk async for chunk in await llm.astream_chat(ASKED)]
        with pytest.raises(BadRequestError) as caught:
            llm.complete("Hello", model=MISTRAL, additional_kwargs={"tmperature": 1})
        assert caught.value.status_code == 422

    def test_usage_is_what_the_service_reports(self, backend):
        """None is made up where it reports none; where it does, core counts by it."""
        assert "usage" not in backend.llm(route="predictions").complete(backend.says("a b c")).raw
        counter = TokenCountingHandler(tokenizer=str.split)
        with Sandbox(api_token=TOKEN, reports_usage=True) as counting:
            llm = RockAIBackend(counting, LLAMA_2).llm(
                route="predictions", callback_manager=CallbackManager([counter])
            )
            raw = llm.complete("Say: good morning").raw
        metrics = raw["prediction"]["metrics"]
        usage = (raw["usage"]["prompt_tokens"], raw["usage"]["completion_tokens"])
        assert usage == (metrics["input_token_count"], metrics["output_token_count"])
        assert usage == (counter.prompt_llm_token_count, counter.completion_llm_token_count)

    def test_raw_can_be_written_as_json(self, backend):
        """Agents put it into events, which are stored."""
        for response in backend.llm(route="predictions").stream_chat(
            [ChatMessage(content=backend.says("a"))]
        ):
            last = response
        assert json.loads(json.dumps(last.raw))["prediction"]["status"] == "succeeded"


class TestKeeping:
    def test_a_token_of_the_environment_is_not_kept(self, backend, monkeypatch):
        """It is read again where the pickle is loaded."""
        monkeypatch.setenv("ROCKAI_API_TOKEN", TOKEN)
        llm = RockAI(model=LLAMA_2, base_url=backend.sandbox.base_url)
        text = backend.says("fine")
        assert llm.complete(text).text == text
        pickled = pickle.dumps(llm)
        assert TOKEN.encode() not in pickled
        assert unpickled(pickled).complete(text).text == text
        monkeypatch.delenv("ROCKAI_API_TOKEN")
        with pytest.raises(ConfigurationError, match="No API token"):
            unpickled(pickled).complete(text)

    def test_a_given_token_is_kept(self, backend):
        """Else the copy in another process could not work."""
        assert TOKEN.encode() in pickle.dumps(backend.llm())

    def test_pickling_takes_nothing_from_it(self, backend):
        """A pipeline with several workers pickles it; core leaves out what cannot be pickled."""
        backend.says("fine")
        keeper = CallbackKeeper()
        keeper.lock = threading.Lock()
        callbacks = CallbackManager([keeper])
        llm = backend.llm(messages_to_prompt=lambda _: "> a", callback_manager=callbacks, dialect="mistral")
        copied = unpickled(pickle.dumps(llm))
        assert llm.chat(ASKED).message.content == copied.chat(ASKED).message.content == "fine"
        assert backend.inputs[0]["prompt"] == "> a"
        assert [kind for kind, _ in keeper.seen] == ["start", "end"]

    @pytest.mark.parametrize(
        "settings",
        [
            {"dialect": "chatml"},
            {"dialect": Dialect("mine", chat_template="chatml", image_key="image", fixed_inputs={"a": 1})},
            {"dialect": Dialect("mine", chat_template=TEMPLATES["chatml"])},
            {"dialect": "chatml", "chat_template": JinjaTemplate("{{ messages[0].content }}")},
        ],
    )
    def test_a_dialect_survives(self, settings):
        """As a dict, as JSON, and as a pickle."""
        llm = RockAI(model="someone/something", context_window=100, **settings)
        for again in (
            RockAI.from_json(llm.to_json()),
            RockAI.from_dict(llm.to_dict()),
            RockAI.model_validate(llm.model_dump()),
            RockAI.model_validate_json(llm.model_dump_json()),
            unpickled(pickle.dumps(llm)),
        ):
            assert again.preview(ASKED) == llm.preview(ASKED)
            assert again.dialect == llm.dialect


class TestPackage:
    def test_everything_public_is_there(self):
        """And nothing is missing from ``__all__``."""
        assert [
            name for name in llama_index_rockai.__all__ if getattr(llama_index_rockai, name) is None
        ] == []
        assert set(llama_index_rockai.__all__) <= set(dir(llama_index_rockai))
        with pytest.raises(AttributeError, match="nothing"):
            _ = llama_index_rockai.nothing

    def test_without_llama_index_it_says_what_to_install(self):
        """The extra, word for word."""
        program = "import sys; sys.modules['llama_index'] = None; import llama_index_rockai"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert 'pip install ".[llama-index]"' in done.stderr

    def test_it_has_a_json_schema(self):
        """Core's workflows ask for one."""
        assert "api_token" in RockAI.model_json_schema()["properties"]
