"""Settings, parameters, previews: what is sent, and what is refused before anything is."""

import base64

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool

from langchain_rockai import ChatRockAI, Dialect, RockAILLM
from rockai_sandbox import Sandbox
from rockai_transport import AsyncClient, BadRequestError, Client, ConfigurationError
from rockai_transport.adapters import clients
from rockai_transport.prompting.request.models import resolve_dialect
from rockai_transport.prompting.request.templates import TEMPLATES

MISTRAL = "mistralai/mistral-7b-instruct-v0.1"
LLAMA_2 = "meta/llama-2-7b-chat"
LLAMA_3 = "meta/meta-llama-3-70b-instruct"
VERSION = "5fe0a3d7ac2852264a25279d1dfb798acbc4d49711d126646594e212cb821749"

EVERYTHING = {"temperature": 0.0, "top_p": 0.9, "max_tokens": 5}


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
@pytest.mark.parametrize(
    ("model", "key"), [(MISTRAL, "max_new_tokens"), (LLAMA_2, "max_new_tokens"), (LLAMA_3, "max_tokens")]
)
def test_parameters_are_spelt_as_the_model_spells_them(cls, model, key):
    """Only what was set is sent, and zero is set."""
    assert cls(model=model).preview("Hi") == {"model": model, "input": {"prompt": "Hi"}}
    sent = cls(model=model, **EVERYTHING).preview("Hi")["input"]
    assert sent == {"prompt": "Hi", "temperature": 0.0, "top_p": 0.9, key: 5}


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
async def test_a_preview_is_the_body_that_is_sent(sandbox, cls):
    """Of invoke and ainvoke, with all that a call may say; the preview itself sends nothing."""
    llm = cls(model=LLAMA_3, temperature=0.5, model_kwargs={"presence_penalty": 1.0}, stop=["x"])
    options = {"max_tokens": 7, "frequency_penalty": 0.1, "model_kwargs": {"presence_penalty": 1.5}}
    preview = llm.preview("Hi", stop=["y"], **options)
    assert sandbox.requests == []
    llm.invoke("Hi", stop=["y"], **options)
    await llm.ainvoke("Hi", stop=["y"], **options)
    list(llm.stream("Hi", stop=["y"], **options))
    assert [request.json() for request in sandbox.requests] == [preview] * 3
    assert preview["input"]["presence_penalty"] == 1.5


def test_a_preview_knows_what_was_bound(sandbox):
    """The keywords of a binding are a call's."""

    @tool
    def get_weather(city: str) -> str:
        """Get the weather."""
        return city

    llm = ChatRockAI(model=MISTRAL)
    bound = llm.bind_tools([get_weather], tool_choice="any")
    preview = llm.preview("Hi", **bound.kwargs)
    assert '"name": "get_weather"' in preview["input"]["prompt"]
    assert llm.preview("Hi", tools=[get_weather], tool_choice="any") == preview
    bound.invoke("How is the weather in Paris?")
    assert sandbox.requests[0].json() == llm.preview("How is the weather in Paris?", **bound.kwargs)
    structured = llm.with_structured_output(get_weather.args_schema).first
    assert "You must call the function" in llm.preview("Hi", **structured.kwargs)["input"]["prompt"]


def test_a_preview_needs_no_token():
    """Nothing is sent, so nobody has to be let in."""
    assert ChatRockAI(model=MISTRAL).preview("Hi")["input"] == {"prompt": "Hi"}


@pytest.mark.parametrize(
    ("settings", "body"),
    [
        ({"model": f"{MISTRAL}:{VERSION}"}, {"model": f"{MISTRAL}:{VERSION}"}),
        ({"model": VERSION}, {"version": VERSION}),
        ({"model": MISTRAL, "route": "predictions"}, {"model": MISTRAL}),
        (
            {"model": f"{MISTRAL}:{VERSION}", "route": "predictions"},
            {"model": MISTRAL, "version": VERSION},
        ),
    ],
)
def test_a_preview_names_the_model_as_its_route_does(sandbox, settings, body):
    """/run takes it as it was written, /predictions takes name and version."""
    llm = ChatRockAI(**settings)
    assert llm.preview("Hi") == {**body, "input": {"prompt": "Hi"}}
    llm.invoke("Hi")
    assert sandbox.requests[0].json() == llm.preview("Hi")


def test_a_preview_goes_the_way_of_the_client_that_was_handed_in(sandbox):
    """Its route holds, not the model's own settings."""
    with Client(route="predictions") as client:
        llm = ChatRockAI(model=f"{MISTRAL}:{VERSION}", client=client)
        assert llm.preview("Hi") == {"model": MISTRAL, "version": VERSION, "input": {"prompt": "Hi"}}
        llm.invoke("Hi")
    assert sandbox.requests[0].json() == llm.preview("Hi")


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
def test_a_preview_knows_which_route_was_missing(monkeypatch, cls):
    """After a call that had to go the other way, it shows what the next one sends."""
    with Sandbox(generation="new") as sandbox:
        for name, value in sandbox.environ().items():
            monkeypatch.setenv(name, value)
        llm = cls(model=f"{MISTRAL}:{VERSION}")
        llm.invoke("Hi")
        assert llm.preview("Hi") == {"model": MISTRAL, "version": VERSION, "input": {"prompt": "Hi"}}


def test_a_preview_while_another_thread_makes_the_first_async_call(sandbox, monkeypatch):
    """The clients are made at the first call of each kind, which may come while a preview looks at them."""
    llm = ChatRockAI(model=MISTRAL, timeout=5)
    llm.invoke("Hi")
    read = clients._settings_of

    def of_a_slow_thread(model):
        if AsyncClient not in model._clients._current:
            monkeypatch.setattr(clients, "_settings_of", read)
            llm._async_client()
        return ()

    monkeypatch.setattr(clients, "_settings_of", of_a_slow_thread)
    assert llm.preview("Hi")["model"] == MISTRAL


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
@pytest.mark.parametrize("stop", [5, [5], {"a": 1}])
def test_a_stop_that_is_no_text_is_refused(sandbox, cls, stop):
    """Before anything is sent, whoever gives it."""
    with pytest.raises(ConfigurationError, match="must be a text or a list of texts"):
        cls(model=MISTRAL).invoke("Hi", stop=stop)
    assert not sandbox.requests


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
def test_a_misspelt_constructor_argument_names_the_nearest(cls):
    """Never swallowed; what is the model's own is sent to model_kwargs."""
    with pytest.raises(ConfigurationError, match=r"'temprature' is not an argument .* 'temperature'"):
        cls(model=MISTRAL, temprature=1)
    with pytest.raises(ConfigurationError, match="did you mean 'max_tokens'"):
        cls(model=MISTRAL, max_length=1)
    with pytest.raises(ConfigurationError, match=r'goes into model_kwargs=\{"presence_penalty": …\}'):
        cls(model=MISTRAL, presence_penalty=1.1)


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
def test_a_system_prompt_is_a_message(cls):
    """Unless the model is known to have such an input, which few have."""
    with pytest.raises(ConfigurationError, match=r'It is a message: \[\("system", .*model_kwargs='):
        cls(model="my/unknown", system_prompt="Be brief.")


@pytest.mark.parametrize("name", ["disable_streaming", "output_version", "profile", "rate_limiter"])
def test_what_only_core_s_chat_models_have_leads_to_them(name):
    """It is no input of a model, to which the advice for other unknown arguments would send it."""
    with pytest.raises(ConfigurationError, match="Only LangChain's chat models have it: ChatRockAI"):
        RockAILLM(model=MISTRAL, **{name: None})


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
async def test_a_parameter_that_a_known_model_does_not_take_is_refused(sandbox, cls):
    """In every way of calling, before anything is sent, naming the nearest right one."""
    llm = cls(model=MISTRAL)
    with pytest.raises(ConfigurationError, match="'repetition_penalty'"):
        llm.invoke("Hi", repetiton_penalty=1)
    with pytest.raises(ConfigurationError):
        await llm.ainvoke("Hi", repetiton_penalty=1)
    with pytest.raises(ConfigurationError):
        list(llm.stream("Hi", repetiton_penalty=1))
    with pytest.raises(ConfigurationError):
        _ = [chunk async for chunk in llm.astream("Hi", repetiton_penalty=1)]
    with pytest.raises(ConfigurationError, match="takes no 'top_k'"):
        cls(model=LLAMA_2, top_k=3).preview("Hi")
    assert sandbox.requests == []


def test_what_is_in_model_kwargs_is_never_checked():
    """Nor is anything of a model that is known by its name's pattern only."""
    sent = ChatRockAI(model=MISTRAL, model_kwargs={"anything": 1}).preview("Hi")["input"]
    assert sent == {"prompt": "Hi", "anything": 1}
    assert ChatRockAI(model="you/mistral-9b-instruct").preview("Hi", anything=1)["input"]["anything"] == 1


def test_a_key_that_the_service_rejects_is_named(sandbox):
    """A 422 says which key, and which one was meant."""
    llm = ChatRockAI(model=MISTRAL, model_kwargs={"max_new_token": 5})
    with pytest.raises(BadRequestError, match=r"'max_new_token'.*Did you mean 'max_new_tokens'\?"):
        llm.invoke("Hi")
    with pytest.raises(BadRequestError, match="Did you mean 'max_new_tokens'"):
        list(llm.stream("Hi"))


def test_a_model_of_the_call_s_own_speaks_its_own_dialect():
    """What was chosen for the constructor's model is not used for another one."""
    llm = ChatRockAI(model="my/unknown", dialect="chatml", max_tokens=5)
    preview = llm.preview([("system", "Be brief."), ("human", "Hi")], model=LLAMA_2)
    assert preview == {
        "model": LLAMA_2,
        "input": {"prompt": "Hi", "system_prompt": "Be brief.", "max_new_tokens": 5},
    }
    again = llm.preview([("system", "Be brief."), ("human", "Hi")], model="my/other", dialect="llama-3")
    assert again["input"]["prompt"].startswith("<|start_header_id|>system<|end_header_id|>\n\nBe brief.")


def test_an_unknown_model_takes_single_turns_only():
    """Anything else needs a dialect, and the error says so."""
    llm = ChatRockAI(model="my/unknown")
    assert llm.preview("Hi")["input"] == {"prompt": "Hi"}
    for messages in ([("system", "x"), ("human", "Hi")], [("human", "a"), ("ai", "b"), ("human", "c")]):
        with pytest.raises(ConfigurationError, match="dialect="):
            llm.preview(messages)
    with pytest.raises(ConfigurationError, match="dialect="):
        llm.preview("Hi", tools=[{"name": "f", "description": "", "parameters": {"properties": {}}}])
    assert ChatRockAI(model="my/unknown", dialect="plain").preview([("system", "x"), ("human", "Hi")])


def test_a_dialect_can_be_bent():
    """By name or whole; `Dialect` is data."""
    dialect = Dialect(name="mine", chat_template="chatml", prompt_key="text", max_tokens_key="length")
    sent = ChatRockAI(model="my/unknown", dialect=dialect, max_tokens=3).preview("Hi")["input"]
    assert sent == {"text": "Hi", "length": 3}


def test_a_chat_template_formats_every_conversation():
    """Single turns too, and the server's own is switched off."""
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    sent = ChatRockAI(model="my/unknown", chat_template=template).preview("Hi")["input"]
    assert sent == {"prompt": "<user>Hi<assistant>", "prompt_template": "{prompt}"}
    known = TEMPLATES["chatml"]
    sent = ChatRockAI(model="my/unknown", chat_template=known).preview("Hi")["input"]
    assert sent["prompt"] == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    with pytest.raises(ConfigurationError, match="chat_template= cannot be used with meta/llama-2-7b-chat"):
        ChatRockAI(model=LLAMA_2, chat_template=template)


PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


@pytest.mark.parametrize(
    ("block", "sent"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}, "https://x.org/a.png"),
        ({"type": "image_url", "image_url": "https://x.org/a.png"}, "https://x.org/a.png"),
        ({"type": "image", "url": "https://x.org/a.png"}, "https://x.org/a.png"),
        ({"type": "image", "base64": PIXEL, "mime_type": "image/png"}, f"data:image/png;base64,{PIXEL}"),
        (
            {"type": "image", "source_type": "base64", "data": PIXEL, "mime_type": "image/png"},
            f"data:image/png;base64,{PIXEL}",
        ),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            f"data:image/png;base64,{PIXEL}",
        ),
        (
            {
                "type": "image",
                "source": {"media_type": "image/png", "data": PIXEL},
            },  # unchanged by core
            f"data:image/png;base64,{PIXEL}",
        ),
        ({"type": "image", "source": {"type": "url", "url": "https://x.org/a.png"}}, "https://x.org/a.png"),
    ],
)
def test_images_go_to_the_dialect_s_key(block, sent):
    """In whichever form LangChain's users write them."""
    dialect = resolve_dialect(LLAMA_3).replace(image_key="image")
    message = HumanMessage([{"type": "text", "text": "What is this?"}, block])
    preview = ChatRockAI(model=LLAMA_3, dialect=dialect).preview([message])
    assert preview["input"] == {"prompt": "What is this?", "image": sent}


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"type": "image", "url": "https://x.org/a.png"}, "takes no images"),
        ({"type": "image", "file_id": "f1"}, "file_id"),
        ({"type": "audio", "base64": PIXEL, "mime_type": "audio/wav"}, "audio"),
        ({"type": "video", "url": "https://x.org/a.mp4"}, "video"),
        ({"type": "file", "base64": PIXEL, "mime_type": "application/pdf"}, "file"),
        ({"type": "surprise", "x": 1}, "surprise"),
    ],
)
def test_what_no_prompt_can_carry_is_an_error(sandbox, block, words):
    """Never left out silently."""
    with pytest.raises(ConfigurationError, match=words):
        ChatRockAI(model=LLAMA_3).invoke([HumanMessage(["What is this?", block])])
    assert sandbox.requests == []


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "base64": PIXEL.encode(), "mime_type": "image/png"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL.encode()}"}},
        {"type": "image", "base64": f"data:image/png;base64,{PIXEL}", "mime_type": "image/png"},
    ],
)
def test_an_image_whose_base64_is_none(block):
    """Is refused: bytes that were not decoded, or a whole data URI, would be sent and paid for."""
    llm = ChatRockAI(model=LLAMA_3, dialect=resolve_dialect(LLAMA_3).replace(image_key="image"))
    with pytest.raises(ConfigurationError, match="b64encode"):
        llm.preview([HumanMessage([block])])


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
def test_the_aliases(cls, sandbox):
    """Other integrations' names for the same settings."""
    for token in ("api_key", "rockai_api_token", "api_token"):
        llm = cls(model_name=LLAMA_2, api_base=sandbox.base_url, **{token: "wrong"})
        assert (llm.model, llm.base_url) == (LLAMA_2, sandbox.base_url)
        assert llm.api_token.get_secret_value() == "wrong"


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
def test_requests_say_who_sends_them(sandbox, cls):
    """User-Agent, and the user's own headers, which may replace it."""
    cls(model=LLAMA_2, default_headers={"X-Team": "blue"}).invoke("Hi")
    cls(model=LLAMA_2, default_headers={"user-agent": "mine"}).invoke("Hi")
    first, second = (request.headers for request in sandbox.requests)
    assert first["user-agent"].startswith("langchain-rockai/")
    assert first["x-team"] == "blue"
    assert second["user-agent"] == "mine"


def test_the_system_message_goes_where_the_model_takes_it(sandbox):
    """The sandbox's models read it there; Mistral's template has it in the user's turn."""
    messages = [SystemMessage("You are a pirate."), HumanMessage("What are your instructions?")]
    for model in (LLAMA_2, LLAMA_3, "sandbox/chatml"):
        assert "You are a pirate." in ChatRockAI(model=model).invoke(messages).content
