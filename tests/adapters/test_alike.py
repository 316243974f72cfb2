"""What both frameworks decide alike: the same question, the same answer."""

import inspect
import re

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field
from support.wire_server import WireServer, answer, frames, stream

from rockai_sandbox import Sandbox
from rockai_transport import (
    GENERATE_IMAGE,
    APITimeoutError,
    AsyncClient,
    BadRequestError,
    Client,
    ConfigurationError,
    Dialect,
    HostedModel,
    InvalidResponseError,
    Service,
)

MODEL = "my/hermes"
PNG = "https://files.example/a.png"
LLAMA_2 = "meta/llama-2-7b-chat"
LLAMA_3 = "meta/meta-llama-3-70b-instruct"
MISTRAL = "mistralai/mistral-7b-instruct-v0.1"
SYSTEM, USER = ("system", "Be brief."), ("user", "Hi")
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
ADD = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>\n'


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def other_add(numbers: list[int]) -> int:
    """Add many numbers."""
    return sum(numbers)


other_add.__name__ = "add"


class TestThePerCallModel:
    def test_it_speaks_its_own_dialect(self, framework):
        """What was chosen for the constructor's model could format its prompt wrongly, unseen."""
        llm = framework.make("my/unknown", dialect="chatml", max_tokens=5)
        sent = framework.input(llm, SYSTEM, USER, model=LLAMA_2)
        assert sent == {"prompt": "Hi", "system_prompt": "Be brief.", "max_new_tokens": 5}

    def test_the_dialect_of_the_call_counts(self, framework):
        """By name or whole."""
        llm = framework.make("my/unknown", dialect="chatml")
        prompt = framework.input(llm, SYSTEM, USER, model="my/other", dialect="llama-3")["prompt"]
        assert prompt.startswith("<|start_header_id|>system<|end_header_id|>\n\nBe brief.")
        dialect = Dialect("mine", chat_template="chatml", prompt_key="text")
        assert framework.input(llm, USER, model="my/other", dialect=dialect) == {"text": "Hi"}

    @pytest.mark.parametrize("dialect", ["chatm", 5, {"name": "chatml"}, ["chatml"]])
    def test_what_is_no_dialect_is_refused(self, framework, dialect):
        """By the names there are, whatever it is."""
        with pytest.raises(ConfigurationError, match="is not a dialect"):
            framework.input(framework.make(), USER, dialect=dialect)

    def test_a_template_s_name_is_no_dialect_and_the_error_says_how_to_choose_it(self, framework):
        """`Dialect.of` gives Gemma's dialect that name, but the table has no dialect of it."""
        with pytest.raises(ConfigurationError, match=r"dialect=Dialect\('mine', chat_template='gemma'\)"):
            framework.make("my/unknown", dialect="gemma")

    def test_the_constructor_s_template_is_not_put_around_it(self, framework):
        """A template is a model's own, as a dialect is; the same model keeps it."""
        llm = framework.make("my/unknown", chat_template=TEMPLATE)
        assert framework.input(llm, USER)["prompt"] == "<user>Hi"
        assert framework.input(llm, USER, model="my/unknown")["prompt"] == "<user>Hi"
        assert framework.input(llm, USER, model=LLAMA_2) == {"prompt": "Hi"}

    def test_it_is_resolved_once(self, framework):
        """What writes the request and explains its errors is given the dialect, and looks for none."""
        for call in ({}, {"model": LLAMA_2}, {"chat_template": TEMPLATE}, {"dialect": "llama-3"}):
            settings, _ = framework.make()._for_call(call)
            assert settings.resolved() is settings.dialect

    def test_it_may_be_called_model_name(self, framework):
        """A call knows the names that the constructor knows."""
        llm = framework.make("my/unknown", max_tokens=5)
        assert framework.input(llm, USER, model_name=LLAMA_2) == {"prompt": "Hi", "max_new_tokens": 5}


class TestNone:
    @pytest.mark.parametrize("name", ["model", "dialect", "chat_template", "stop", "timeout"])
    def test_a_setting_that_is_none_is_not_given(self, framework, says, name):
        """Whoever passes on what may be missing need not leave it out."""
        asked = says("one. two.")
        llm = framework.make(chat_template=TEMPLATE, stop=["."], timeout=30)
        assert framework.ask(llm, "Hi", **{name: None}) == "one"
        assert asked[0]["prompt"] == "<user>Hi"

    @pytest.mark.parametrize("name", ["max_retries", "max_reasks", "stream_usage", "route"])
    def test_so_it_is_in_the_constructor(self, framework, name):
        """A setting with a default of its own has that."""
        usual = getattr(framework.make(), name)
        assert usual is not None
        assert getattr(framework.make(**{name: None}), name) == usual

    def test_no_inputs_of_the_model_s_own(self, framework):
        """Neither the constructor's nor a call's."""
        assert framework.input(framework.make(**{framework.extra: None}), USER) == {"prompt": "Hi"}
        llm = framework.make(**{framework.extra: {"seed": 1}})
        assert framework.input(llm, USER, **{framework.extra: None}) == {"prompt": "Hi", "seed": 1}
        assert framework.input(llm, USER, **{framework.extra: {"seed": 2}})["seed"] == 2

    def test_a_parameter_that_is_none_is_not_sent(self, framework):
        """The way to take off what the constructor set."""
        llm = framework.make(temperature=0.5)
        assert framework.input(llm, USER, temperature=None) == {"prompt": "Hi"}


class TestASettingOfACall:
    @pytest.mark.parametrize(
        ("name", "wrong"),
        [
            ("chat_template", [TEMPLATE]),
            ("timeout", "soon"),
            ("extra", "seed=1"),
        ],
    )
    def test_it_is_what_the_constructor_takes(self, framework, name, wrong):
        """Else it is refused by its name, before anything is sent."""
        name = framework.extra if name == "extra" else name
        with pytest.raises(ConfigurationError, match=f"{name}: "):
            framework.input(framework.make(), USER, **{name: wrong})

    def test_a_dict_that_is_no_dialect_is_refused(self, framework):
        """A constructor takes one as JSON holds it, with the names of its fields."""
        with pytest.raises(ConfigurationError, match=r"no dialect: .*'nmae'"):
            framework.make(dialect={"nmae": "mine"})


class TestConstructorArguments:
    @pytest.mark.parametrize(
        ("model", "given", "sent"),
        [
            (LLAMA_3, {"presence_penalty": 0.5}, {"presence_penalty": 0.5}),
            (LLAMA_3, {"min_tokens": 5}, {"min_tokens": 5}),
            (MISTRAL, {"min_tokens": 5}, {"min_new_tokens": 5}),
            (LLAMA_2, {"max_new_tokens": 5}, {"max_new_tokens": 5}),
        ],
    )
    def test_what_the_model_s_dialect_knows_is_an_input(self, framework, model, given, sent):
        """In the constructor as in a call, under the common name or the model's own."""
        found = framework.input(framework.make(model, **given), USER)
        assert found.items() >= sent.items()

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"seed": 1}, '{"seed": …}'),
            ({"presence_penalty": 1}, '{"presence_penalty": …}'),
            ({"num_predict": 1}, "did you mean 'max_tokens'"),
            ({"max_completion_tokens": 1}, "did you mean 'max_tokens'"),
            ({"num_ctx": 1}, "context_window"),
            ({"response_format": {}}, "structured"),
            ({"prompt_key": "text"}, "replace(prompt_key=…)"),
            ({"image_key": "image"}, "replace(image_key=…)"),
            ({"openai_api_key": "x"}, "did you mean 'api_token'"),
            ({"token": "x"}, "did you mean 'api_token'"),
            ({"anthropic_api_key": "x"}, "did you mean 'api_token'"),
            ({"huggingfacehub_api_token": "x"}, "did you mean 'api_token'"),
            ({"default_request_timeout": 1}, "did you mean 'timeout'"),
            ({"client_kwargs": {}}, "AsyncClient(http_client=…)"),
            ({"proxy": "x"}, "AsyncClient(http_client=…)"),
            ({"read_timeout": 1}, "AsyncClient(timeouts=…)"),
            ({"endpoint": "x"}, "did you mean 'base_url'"),
            ({"engine": "x"}, "did you mean 'model'"),
            ({"max_new_tokens": 1}, "did you mean 'max_tokens'"),
            ({"max_tokens_to_sample": 1}, "did you mean 'max_tokens'"),
            ({"extra_body": {}}, "_kwargs'"),
            ({"format": "json"}, "structured"),
            ({"tools": []}, "bind_tools"),
            ({"version": "0" * 64}, "owner/name:version"),
            ({"http_async_client": None}, "AsyncClient(http_client=…)"),
            ({"temprature": 1}, "did you mean 'temperature'"),
            ({"api_ky": "x"}, "did you mean 'api_key'?"),
            ({"api_bse": "x"}, "did you mean 'api_base'?"),
            ({"model_nam": "x"}, "did you mean 'model_name'?"),
            ({"model": LLAMA_3, "min_toknes": 1}, "did you mean 'min_tokens'"),
            ({"quantum": 1}, '{"quantum": …}'),
        ],
    )
    def test_the_names_that_people_try_are_answered(self, framework, given, words):
        """With the name here, the way it is done here, or where inputs of the model go."""
        with pytest.raises(ConfigurationError, match=re.escape(words)) as caught:
            framework.make(**given)
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize(
        "name",
        [
            "openai_api_key",
            "api_ky",
            "rockai_api_tokn",
            "xai_api_key",
            "auth_token",
            "endpoint",
            "extra_body",
        ],
    )
    def test_what_is_no_input_of_a_model_is_not_offered_as_one(self, framework, name):
        """A token above all: the error names the argument for it, and not ``model_kwargs`` too."""
        with pytest.raises(ConfigurationError) as caught:
            framework.make(**{name: "x"})
        assert str(caught.value).endswith("?")

    @pytest.mark.parametrize("name", ["verbosity", "reasoning_effort", "logit_bias", "n"])
    def test_what_is_near_no_argument_goes_to_the_model_s_inputs(self, framework, name):
        """No other thing is suggested, in the constructor or in a call; each says where it goes."""
        for refused in (
            lambda: framework.make(**{name: 1}),
            lambda: framework.input(framework.make(LLAMA_3), USER, **{name: 1}),
        ):
            with pytest.raises(ConfigurationError, match=re.escape(f'_kwargs={{"{name}": …}}')) as caught:
                refused()
            assert "did you mean" not in str(caught.value)

    def test_a_subclass_may_know_its_model(self, framework):
        """By a default of its own, which an argument replaces, by any name of it."""

        class Llama(framework.model_class):
            model: str = LLAMA_2
            max_tokens: int | None = 5

        assert framework.input(Llama(), USER) == {"prompt": "Hi", "max_new_tokens": 5}
        assert framework.input(Llama(model=None, max_new_tokens=6), USER)["max_new_tokens"] == 6
        assert framework.input(Llama(model_name=LLAMA_3), USER) == {"prompt": "Hi", "max_tokens": 5}

    @pytest.mark.parametrize(
        ("alias", "given"),
        [
            ({"alias": "teamName"}, {"teamName": "red"}),
            ({"validation_alias": "teamName"}, {"teamName": "red"}),
            ({"validation_alias": AliasChoices("a", AliasPath("b", 0))}, {"b": ["red"]}),
        ],
    )
    def test_a_subclass_may_have_fields_with_aliases(self, framework, alias, given):
        """As pydantic takes them."""

        class Ours(framework.model_class):
            team: str = Field(default="none", **alias)

        assert Ours(model=MODEL, **given).team == "red"

    def test_a_prompt_is_no_setting(self, framework):
        """It would stand in place of each call's own."""
        with pytest.raises(ConfigurationError, match="'prompt' is not an argument"):
            framework.make(LLAMA_3, prompt="x")

    @pytest.mark.parametrize("model", [LLAMA_3, MODEL])
    def test_nor_is_it_a_parameter_of_a_call(self, framework, model):
        """The conversation was lost without an error; in the model's own inputs it is meant."""
        llm = framework.make(model)
        with pytest.raises(ConfigurationError, match="'prompt' would replace the conversation"):
            framework.input(llm, USER, prompt="x")
        with pytest.raises(ConfigurationError, match=r"It takes: (?!.*prompt,)"):
            framework.input(framework.make(LLAMA_3), USER, promt="x")
        assert framework.input(llm, USER, **{framework.extra: {"prompt": "x"}}) == {"prompt": "x"}

    def test_a_name_is_suggested_only_where_it_is_near(self, framework):
        """A guess that is none misleads."""
        with pytest.raises(ConfigurationError) as caught:
            framework.make(minimum=1)
        assert "did you mean" not in str(caught.value)

    @pytest.mark.parametrize("per_call", [False, True])
    def test_each_field_that_a_dialect_has_a_key_for_is_sent_under_that_key(self, framework, per_call):
        """The constructor's and a call's: a new sampling parameter cannot be declared and then not sent."""
        named = (name.removesuffix("_key") for name in Dialect.__dataclass_fields__ if name.endswith("_key"))
        others = {"stop", "system_prompt"}  # no numbers
        fields = dict.fromkeys({*named} & framework.model_class.model_fields.keys() - others, 1)
        assert {"temperature", "max_tokens"} <= fields.keys()
        dialect = Dialect("mine", **{f"{name}_key": f"own_{name}" for name in fields})
        set_here, given = ({}, fields) if per_call else (fields, {})
        sent = framework.input(framework.make(dialect=dialect, **set_here), USER, **given)
        assert sent == {"prompt": "Hi", **{f"own_{name}": 1 for name in fields}}

    @pytest.mark.parametrize("per_call", [False, True])
    def test_an_answer_that_leaves_no_room_for_the_prompt_is_refused(self, framework, per_call):
        """Before anything is sent."""
        settings = {"dialect": "llama-2"}
        with pytest.raises(ConfigurationError, match="4096 tokens"):
            framework.input(
                framework.make(LLAMA_2, **settings, **({} if per_call else {"max_tokens": 4096})),
                USER,
                **({"max_tokens": 4096} if per_call else {}),
            )


class TestTools:
    @pytest.mark.parametrize(("parallel", "found"), [(None, 2), (True, 2), (False, 1)])
    def test_several_calls_are_the_default(self, framework, says, parallel, found):
        """None means the default; False one call."""
        asked = says(ADD * 2)
        tools = [framework.tool(add)]
        made = framework.calls(framework.make(), "Hi", tools, parallel_tool_calls=parallel)
        assert made == ["add"] * found
        assert ("To call several functions" in asked[0]["prompt"]) is (found == 2)

    def test_the_same_tool_twice_is_one_tool(self, framework, says):
        """Whoever puts lists of tools together need not look for doubles."""
        asked = says(ADD)
        tools = [framework.tool(add), framework.tool(add)]
        assert framework.calls(framework.make(), "Hi", tools) == ["add"]
        assert asked[0]["prompt"].count('{"name": "add", "description"') == 1

    def test_two_tools_of_one_name_are_refused(self, framework, sandbox):
        """The model could not tell them apart; nothing is sent."""
        tools = [framework.tool(add), framework.tool(other_add)]
        with pytest.raises(ConfigurationError, match="Two tools are named 'add'"):
            framework.calls(framework.make(), "Hi", tools)
        assert not sandbox.requests

    def test_another_provider_s_tool_is_refused(self, framework):
        """It runs on that provider's servers."""
        with pytest.raises(ConfigurationError, match="'web_search' is run by another provider"):
            framework.calls(framework.make(), "Hi", [{"type": "web_search"}])

    def test_strict_is_no_input_of_the_model(self, framework, says):
        """It is for services that check schemas; OpenAI's users give it with the tools."""
        asked = says(ADD)
        assert framework.calls(framework.make(), "Hi", [framework.tool(add)], strict=True) == ["add"]
        assert "strict" not in asked[0]

    @pytest.mark.parametrize("form", ["parameters", "input_schema", "inputSchema"])
    def test_a_schema_counts_in_the_forms_of_openai_anthropic_and_mcp(self, framework, form):
        """Without it, the model would call the tool without arguments."""
        schema = {"type": "object", "properties": {"city": {"type": "string"}}}
        tool = {"name": "weather", "description": "The weather.", form: schema}
        prompt = framework.input(framework.make(), USER, tools=[tool])["prompt"]
        assert '"parameters": {"type": "object", "properties": {"city": {"type": "string"}}}' in prompt

    @pytest.mark.parametrize("tools", [5, "add", {"name": "add"}, [5]])
    def test_what_is_no_list_of_tools_is_refused_in_a_call_too(self, framework, sandbox, tools):
        """With our error: core's own would not be one that a handler of ours catches."""
        with pytest.raises(ConfigurationError, match=r"tools must be a list of tools|is no tool"):
            framework.calls(framework.make(), "Hi", tools)
        assert not sandbox.requests


class TestClients:
    def test_handed_in_ones_are_not_held_to_the_environment(self, framework, monkeypatch):
        """They were allowed plain http; the address in the environment is theirs already."""
        monkeypatch.setenv("ROCKAI_BASE_URL", "http://gateway.internal/v1")
        with pytest.raises(ConfigurationError, match="allow_http=True"):
            framework.make()
        allowed = {"api_token": "token", "allow_http": True}
        clients = {"client": Client(**allowed), "async_client": AsyncClient(**allowed)}
        for given in (clients, {"client": clients["client"]}, {"async_client": clients["async_client"]}):
            assert framework.input(framework.make(**given), USER) == {"prompt": "Hi"}

    async def test_one_of_them_counts_for_the_other_kind_of_call_too(self, framework, sandbox, monkeypatch):
        """Those went to the service and with the token of the environment, or there was no token."""
        monkeypatch.delenv("ROCKAI_API_TOKEN")
        monkeypatch.setenv("ROCKAI_BASE_URL", "https://elsewhere.invalid/v1")
        settings = {"base_url": sandbox.base_url, "service": Service(end_events=("done", "end"))}
        for name, kind in (("client", Client), ("async_client", AsyncClient)):
            given = kind(sandbox.api_token, **settings)
            llm = framework.make("sandbox/chatml", **{name: given})
            assert await framework.aask(llm, "Say: one") == framework.ask(llm, "Say: one") == "one"
            made = [llm._sync_client(), llm._async_client()]
            assert [one._settings for one in made] == [given._settings] * 2
            assert made == [llm._sync_client(), llm._async_client()]

    async def test_the_model_s_timeout_counts_with_a_handed_in_client(self, framework, sandbox):
        """For each call; one that is not set leaves the client's."""
        gate = sandbox.hold()

        @sandbox.model("my/hermes")
        def talk(input):
            gate.wait()

        with Client() as patient, Client(timeout=0.2) as hasty:
            async with AsyncClient() as waiting:
                own = framework.make(client=patient, async_client=waiting, timeout=0.2)
                with pytest.raises(APITimeoutError):
                    framework.ask(own, "Hi")
                with pytest.raises(APITimeoutError):
                    list(framework.stream(own, "Hi"))
                with pytest.raises(APITimeoutError):
                    await framework.aask(own, "Hi")
                with pytest.raises(APITimeoutError):
                    framework.ask(framework.make(client=hasty), "Hi")
                with pytest.raises(APITimeoutError):
                    framework.ask(framework.make(client=patient, timeout=60), "Hi", timeout=0.2)
        gate.set()

    def test_a_timeout_that_cannot_be_is_refused_at_once(self, framework, sandbox):
        """With a client that is handed in too."""
        with Client() as client, pytest.raises(ConfigurationError, match="timeout"):
            framework.make(client=client, timeout=-1)

    def test_the_user_agent_names_the_package(self, framework, sandbox, says):
        """A name of the user's own counts more."""
        says("one", "two", "three")
        framework.ask(framework.make(), "Hi")
        list(framework.stream(framework.make(), "Hi"))
        framework.ask(framework.make(default_headers={"User-Agent": "mine/1"}), "Hi")
        *named, own = [request.headers["user-agent"] for request in sandbox.requests]
        for agent in named:
            package, transport = agent.split()
            assert package.split("/") == [framework.package, transport.split("/")[1]]
            assert transport.startswith("rockai-integrations/")
        assert own == "mine/1"

    def test_a_toolkit_names_it_too(self, framework, sandbox):
        """Its calls are the framework's."""
        toolkit = framework.toolkit_class([HostedModel("talk", "sandbox/echo", "Repeat the prompt.")])
        framework.use(toolkit, prompt="Hi")
        assert sandbox.requests[0].headers["user-agent"].startswith(f"{framework.package}/")
        toolkit.close()

    @pytest.mark.parametrize(("name", "other"), [("client", AsyncClient), ("async_client", Client)])
    def test_a_toolkit_refuses_the_other_kind(self, framework, sandbox, name, other):
        """It would start a prediction, and lose its id."""
        with pytest.raises(ConfigurationError, match=rf"^{name} must be .*, not {other.__name__}\."):
            framework.toolkit_class([GENERATE_IMAGE], **{name: other()})


class TestArguments:
    @pytest.mark.parametrize("name", ["api_token", "api_key", "base_url", "max_retries", "default_headers"])
    def test_settings_of_the_client_are_no_inputs(self, framework, sandbox, name):
        """The token above all would be sent to the model."""
        llm = framework.make(dialect="plain")
        with pytest.raises(ConfigurationError, match=f"'{name}' is an argument of .* not of a single call"):
            framework.ask(llm, "Hi", **{name: "x"})
        assert not sandbox.requests

    @pytest.mark.parametrize("name", ["openai_api_key", "token", "rock_api_token", "apiKey", "hf_token"])
    def test_nor_is_another_service_s_token(self, framework, sandbox, name):
        """A model whose inputs are not known was sent it."""
        with pytest.raises(ConfigurationError, match="'api_token' is an argument of"):
            framework.ask(framework.make("my/unknown"), "Hi", **{name: "sk-x"})
        assert not sandbox.requests

    def test_a_key_that_the_model_rejects_is_named(self, framework, sandbox):
        """With the one that was meant, in the words of the call's own model."""
        llm = framework.make(LLAMA_2, **{framework.extra: {"max_new_token": 5}})
        for model, nearest in ((MISTRAL, "max_new_tokens"), (LLAMA_3, "max_tokens")):
            with pytest.raises(BadRequestError, match=f"'max_new_token'.*Did you mean '{nearest}'"):
                framework.ask(llm, "Hi", model=model)
            with pytest.raises(BadRequestError, match=f"Did you mean '{nearest}'"):
                list(framework.stream(llm, "Hi", model=model))

    def test_an_unknown_setting_of_a_toolkit_names_the_nearest(self, framework):
        """As one of a model class does."""
        with pytest.raises(ConfigurationError, match="did you mean 'max_starts'"):
            framework.toolkit_class([], max_strats=1)

    def test_the_signature_of_a_toolkit_is_its_constructor_s(self, framework):
        """What `help` and a notebook show has the settings too, which pydantic leaves out."""
        constructor = inspect.signature(framework.toolkit_class.__init__).parameters
        shown = inspect.signature(framework.toolkit_class).parameters
        assert ["self", *shown] == list(constructor)
        assert "settings" in shown


BROKEN = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": </tool_call>'


class TestReasks:
    def test_a_broken_call_behind_text_is_asked_for_again(self, framework, says):
        """Nothing was handed on yet. A stream has handed on the text; then the call is what it is."""
        asked = says(f"I add.\n{BROKEN}", ADD, f"I add.\n{BROKEN}")
        tools = [framework.tool(add)]
        assert framework.calls(framework.make(), "Hi", tools) == ["add"]
        assert "cannot be read" in asked[1]["prompt"]
        assert "".join(framework.stream(framework.make(), "Hi", tools=tools)) == f"I add.\n{BROKEN}"
        assert len(asked) == 3

    @pytest.mark.parametrize("allowed", [0, 1, 2])
    def test_one_setting_says_how_often(self, framework, says, allowed):
        """Each is a paid run; then the model's text is the answer, or there is an error."""
        tools = [framework.tool(add)]
        llm = framework.make(max_reasks=allowed)
        asked = says(*[BROKEN] * (1 + allowed), *["No."] * (1 + allowed))
        assert framework.ask(llm, "Hi", tools=tools) == BROKEN
        assert len(asked) == 1 + allowed
        with pytest.raises(InvalidResponseError, match="did not return valid output"):
            framework.calls(llm, "Hi", tools, tool_choice="required")
        assert len(asked) == 2 * (1 + allowed)

    def test_a_negative_one_is_refused(self, framework):
        """With what it must be."""
        with pytest.raises(ConfigurationError, match="max_reasks=-1 must be 0 or more"):
            framework.make(max_reasks=-1)

    def test_the_metadata_say_how_many_runs_it_took(self, framework, says):
        """Where it took several."""
        says(BROKEN, ADD, BROKEN, ADD, ADD)
        tools = [framework.tool(add)]
        assert framework.metadata(framework.make(), "Hi", tools=tools)["runs"] == 2
        assert framework.streamed_metadata(framework.make(), "Hi", tools=tools)["runs"] == 2
        assert "runs" not in framework.metadata(framework.make(), "Hi", tools=tools)


class TestEnds:
    @pytest.mark.parametrize(
        ("answer", "token"), [("Hello.<|im_end|>\n<|im_start|>user", "<|im_end|>"), ("Hello. END", " END")]
    )
    def test_the_metadata_say_what_ended_the_answer(self, framework, says, answer, token):
        """A token of the model's template, or a stop sequence; the text is exact up to there."""
        says(answer, answer)
        llm = framework.make(stop=[" END"], dialect="chatml")
        for read in (framework.metadata, framework.streamed_metadata):
            metadata = read(llm, "Hi")
            assert (metadata["finish_reason"], metadata["stop_token"]) == ("stop", token)

    def test_an_end_that_the_service_gives_no_reason_for_is_a_stop(self, framework, says):
        """In the field's word: tracers take an answer without a reason for an error."""
        says("Hello.", "Hello.")
        for read in (framework.metadata, framework.streamed_metadata):
            metadata = read(framework.make(), "Hi")
            assert metadata["finish_reason"] == "stop"
            assert not {"stop_token", "runs"} & metadata.keys()

    def test_an_answer_that_calls_tools_ends_with_them(self, framework, says):
        """As with other providers."""
        says(ADD, ADD)
        tools = [framework.tool(add)]
        for read in (framework.metadata, framework.streamed_metadata):
            assert read(framework.make(), "Hi", tools=tools)["finish_reason"] == "tool_calls"

    @pytest.mark.parametrize(
        ("word", "found"), [("length", "length"), ("MAX_TOKENS", "length"), ("eos", "stop")]
    )
    def test_length_is_said_where_the_service_says_it(self, framework, word, found):
        """In the prediction's metrics, under the names of peers."""
        done = {"id": "p1", "status": "succeeded", "output": "Hi", "metrics": {"finish_reason": word}}
        with WireServer() as server:
            server.route("POST /v1/run", answer(200, done), answer(200, done))
            llm = framework.make(base_url=server.base_url, api_token="t")  # noqa: S106 - none
            assert framework.metadata(llm, "Hi")["finish_reason"] == found
            ended = framework.metadata(llm, "Hi", stop=["i"])  # before the limit: the answer is whole
            assert (ended["finish_reason"], ended["stop_token"]) == ("stop", "i")


class TestUsage:
    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_a_stream_tells_the_token_counts_that_a_call_tells(self, framework, kind):
        """One look at the prediction, once the stream has ended."""
        with Sandbox(reports_usage=True) as sandbox:
            sandbox.model(MODEL)(lambda input: "one two three")
            given = {"base_url": sandbox.base_url, "api_token": sandbox.api_token, "route": "predictions"}
            llm = framework.make(**given)
            called = framework.usage(framework.last(llm, "Hi", kind))
            assert called == framework.usage(framework.answer(llm, "Hi"))
            assert min(called) > 0
            looks = [request for request in sandbox.requests if request.method == "GET"]
            silent = framework.make(**given, stream_usage=False)
            assert framework.usage(framework.last(silent, "Hi", kind)) is None
            now = [request for request in sandbox.requests if request.method == "GET"]
            assert len(now) == len(looks) + 1  # the stream itself

    def test_a_call_may_choose(self, framework):
        """As with the models of other packages: `stream_usage` of one stream."""
        with Sandbox(reports_usage=True) as sandbox:
            sandbox.model(MODEL)(lambda input: "one")
            given = {"base_url": sandbox.base_url, "api_token": sandbox.api_token, "route": "predictions"}
            looks = []
            for usual, call in ((True, False), (False, True), (True, None)):
                framework.streamed_metadata(
                    framework.make(**given, stream_usage=usual), "Hi", stream_usage=call
                )
                looks.append(sum(request.method == "GET" for request in sandbox.requests))
            assert looks == [1, 3, 5]  # one is the stream itself

    @pytest.mark.parametrize("kind", ["sync", "async"])
    @pytest.mark.parametrize("look", [(500, {}), (200, {"id": "p1", "status": "processing", "output": None})])
    def test_a_look_that_fails_or_is_early_costs_the_counts_only(self, framework, look, kind):
        """The answer is whole, and has succeeded: the stream's end said so."""
        urls = {"stream": "/v1/stream"}
        with WireServer() as server:
            server.route(
                "POST /v1/predictions", answer(201, {"id": "p1", "status": "starting", "urls": urls})
            )
            server.route("GET /v1/stream", stream(frames(PNG)))
            server.route("GET /v1/predictions/p1", answer(*look))
            given = {"base_url": server.base_url, "api_token": "t", "route": "predictions", "max_retries": 0}
            llm = framework.make(**given)
            assert "".join(framework.stream(llm, "Hi")) == PNG
            whole = framework.whole(llm, "Hi", kind)
            assert framework.usage(whole) is None
            assert framework.blocks(whole) == [("text", PNG), ("image", PNG)]


def test_a_forced_call_that_never_comes_is_one_error(framework, says):
    """After two runs."""
    asked = says("No.", "No!")
    with pytest.raises(InvalidResponseError, match="asked twice") as caught:
        framework.calls(framework.make(), "Hi", [framework.tool(add)], tool_choice="required")
    assert (caught.value.body, len(asked)) == ("No!", 2)


class TestANewSetting:
    async def test_it_opens_no_new_connection(self, framework):
        """Twenty calls under twenty timeouts share a connection; a stream under an earlier one goes on."""
        with WireServer() as server:
            server.route("POST /v1/run", answer(200, {"status": "succeeded", "output": "hi"}))
            server.route("POST /v1/run_sse", stream(frames("one", "two", "three")))
            llm = framework.make(base_url=server.base_url, api_token="t")  # noqa: S106 - none
            earlier = framework.stream(llm, "x")
            heard = next(earlier)
            for seconds in range(100, 120):
                llm.timeout = seconds
                assert framework.ask(llm, "x") == await framework.aask(llm, "x") == "hi"
            assert "".join([heard, *earlier]) == "onetwothree"
            assert server.connections == 3  # the stream's, and one for each kind of client


DSML = "\uff5cDSML\uff5c"
FORMATS = {
    "DeepSeek V3.2": f'<{DSML}function_calls>\n<{DSML}invoke name="add">\n'
    f'<{DSML}parameter name="a" string="false">1</{DSML}parameter>\n'
    f'<{DSML}parameter name="b" string="false">2</{DSML}parameter>\n'
    f"</{DSML}invoke>\n</{DSML}function_calls>",
    "Phi-4-mini": 'functools[{"name": "add", "arguments": {"a": 1, "b": 2}}]',
}


class Town(BaseModel):
    """A town."""

    city: str


class TestWhatModelsWrite:
    @pytest.mark.parametrize("reply", FORMATS.values(), ids=FORMATS)
    def test_a_call(self, framework, says, reply):
        """Streamed and not, a family's own form is a call, and nothing of it is text."""
        says(reply, reply)
        tools = [framework.tool(add)]
        assert framework.calls(framework.make(), "Hi", tools) == ["add"]
        assert "".join(framework.stream(framework.make(), "Hi", tools=tools)) == ""

    def test_an_answer_in_tokens_of_its_own(self, framework, says):
        """What stands around the answer is no text of it, streamed and not."""
        reply = "<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>It is 3.<|END_RESPONSE|>"
        says(reply, reply)
        assert framework.ask(framework.make(), "Hi") == "It is 3."
        assert "".join(framework.stream(framework.make(), "Hi")) == "It is 3."
