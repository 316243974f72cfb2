import re
import sys
from pathlib import PurePosixPath

import pytest

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.messages import Message, Turn
from rockai_transport.prompting.reply.reader import ModelReply, ReplyReader, read_reply
from rockai_transport.prompting.request import jinja
from rockai_transport.prompting.request.build import ChatCall, ModelSettings
from rockai_transport.prompting.request.dialects import Dialect
from rockai_transport.prompting.request.jinja import JinjaTemplate
from rockai_transport.prompting.request.templates import TEMPLATES

MODEL = "mistralai/mistral-7b-instruct-v0.1"
# Templates of this test's own making, in the manner of published ones.
MARKS = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
STRICT = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}<start_of_turn>model\n"
)


def prompt(template, *messages):
    call = ChatCall(ModelSettings(MODEL, chat_template=template), messages)
    request = call.request()
    assert request.input["prompt_template"] == "{prompt}"
    return request.input["prompt"]


def test_a_template_renders_every_conversation_single_turns_too():
    """A user who gives a template wants it applied, not the server's."""
    assert prompt(MARKS, Message("user", "Hi")) == "<|user|>\nHi</s>\n<|assistant|>\n"


@pytest.mark.parametrize("bos", ["<s>", "<|begin_of_text|>", "<bos>"])
def test_the_leading_bos_is_taken_off(bos):
    """Told from the source, or written into it: the tokenizer adds it."""
    assert JinjaTemplate(bos + MARKS).render("", [Turn("user", "Hi")]).startswith("<|user|>")


def test_the_tokens_are_told_from_the_source():
    """A template that mentions Llama 3's headers ends its turns as Llama 3 does."""
    source = (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.content }}{{ eos_token }}{% endfor %}"
    )
    assert JinjaTemplate(source).render("", [Turn("user", "a")]) == "<|start_header_id|>a<|eot_id|>"


@pytest.mark.parametrize("name", ["llama-3", "chatml"])
def test_a_jinja_template_gives_what_the_built_in_one_gives(name):
    """Both ways to the same family end in the same prompt."""
    template = TEMPLATES[name]
    trim = " | trim" if template.trim else ""
    opening, closing = template.user
    source = (
        "{% for m in messages %}" + opening.replace("user", "{{ m.role }}")
        + "{{ m.content" + trim + " }}" + closing.replace("\n", "{{ '\\n' }}") + "{% endfor %}"
        + template.cue.replace("\n", "{{ '\\n' }}")
    ).replace("}}\n", "}}{{ '\\n' }}")  # fmt: skip
    source = source.replace("<|end_header_id|>\n\n", "<|end_header_id|>{{ '\\n\\n' }}")
    turns = [Turn("user", " a "), Turn("assistant", "b"), Turn("user", "c")]
    assert JinjaTemplate(source).render("s", turns) == template.render("s", turns)


def test_system_text_goes_into_the_first_turn_where_the_template_refuses_it():
    """As Gemma's and Mistral's templates do."""
    text = prompt(STRICT, Message("system", "S"), Message("user", "a"), Message("user", "b"))
    # Jinja drops a template's last line end, here and in transformers.
    assert text == "<start_of_turn>user\nS\n\na\n\nb<end_of_turn>\n<start_of_turn>model"


def test_system_text_goes_into_the_first_turn_where_the_template_ignores_it():
    """As those of ChatGLM and Falcon do: instructions for tools would be lost."""
    template = "{% for m in messages if m.role != 'system' %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    assert prompt(template, Message("system", "S"), Message("user", "a")) == "user: S\n\na\n"


def test_a_template_may_require_system_text():
    """It is asked without it only to see whether it ignores it."""
    template = "{{ messages[0].content }}{{ messages[1].content }}{{ 1 / (messages | length - 1) }}"
    assert prompt(template, Message("system", "S"), Message("user", "a")) == "Sa1.0"


@pytest.mark.parametrize(
    "text",
    [
        "{% for line in m.content %}{% if line.type == 'text' %}{{ line.text }}{% endif %}{% endfor %}",
        "{% for line in m.content | selectattr('type', 'equalto', 'text') %}{{ line.text }}{% endfor %}",
        "{{ m.content[0]['text'] + ';' }}",
    ],
    ids=["idefics", "llava user", "llava assistant"],
)
def test_a_template_that_reads_only_blocks_gets_blocks(text):
    """Those of Idefics, SmolVLM and LLaVA leave out every text, or fail, if it is not in a block."""
    source = f"{{% for m in messages %}}{{{{ m.role }}}}: {text}{{% endfor %}}"
    conversation = [Message("system", "S"), Message("user", "a"), Message("assistant", "b")]
    assert prompt(source, *conversation).replace(";", "") == "system: Suser: aassistant: buser: "


def test_roles_alternate_for_every_jinja_template():
    """The user speaks first and last, and nobody twice."""
    text = prompt(
        STRICT, Message("assistant", "a"), Message("tool", "r", name="f"), Message("assistant", "b")
    )
    roles = re.findall("<start_of_turn>(user|model)", text)
    assert roles == ["user", "model", "user", "model", "user", "model"]


@pytest.mark.parametrize("token", ["<end_of_turn>", "<start_of_turn>", "<bos>", "[/INST]", "<|im_end|>"])
def test_tokens_of_the_source_are_neutralised(token):
    """What looks like a token in the template cannot be said by a message."""
    harmless = prompt(STRICT, Message("user", "a x b"))
    assert prompt(STRICT, Message("user", f"a {token} b")).count(token) == harmless.count(token)


@pytest.mark.parametrize("token", ["<|user|>", "<|system|>", "<|tool|>", "<|observation|>"])
def test_tokens_that_are_made_of_a_role_s_name_are_neutralised(token):
    """Phi's and GLM's write ``'<|' + message['role'] + '|>'``, so their source shows none of them."""
    harmless = prompt(MARKS, Message("system", "s"), Message("user", "a x b"))
    said = prompt(MARKS, Message("system", f"s{token}"), Message("user", f"a {token} b"))
    assert said.count(token) == harmless.count(token)


@pytest.mark.parametrize("token", ["]~b]", "[e~[", "[|user|]", "<|turn>"])
def test_known_tokens_of_other_shapes_are_neutralised(token):
    """Those of MiniMax, EXAONE and Gemma 4."""
    template = "{# " + token + " #}{{ messages[0].content }}"
    assert token not in prompt(template, Message("user", f"a {token} b"))


def test_our_own_markup_is_no_token():
    """A template that mentions tool calls does not keep the model from being told of them."""
    template = "{# <tool_call> <tool_response> <think> </tools> #}{{ messages[0].content }}"
    text = "<tool_call> <tool_response> </think> </tools>"
    assert prompt(template, Message("user", text)) == text


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{% for %}", "not valid Jinja"),
        ("{{ messages[9].content.x.y }}", "fails on this conversation"),
        ("{{ raise_exception('never') }}", "refuses this conversation: never"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
    ],
)
def test_a_template_that_fails_is_a_configuration_error(source, words):
    """Syntax errors, run-time errors, refusals and break-outs: nothing was sent."""
    for template in (source, JinjaTemplate(source)):
        with pytest.raises(ConfigurationError, match=re.escape(words)):
            prompt(template, Message("system", "s"), Message("user", "a"))


def test_what_templates_may_call():
    """The helpers of transformers' environment are there, and JSON is not escaped for HTML."""
    source = (
        "{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}"
        "{% generation %}g{% endgeneration %}{{ {'a': '<é>'} | tojson }}{{ strftime_now('%%') }}"
        "{% if tools %}T{% endif %}{% if documents %}D{% endif %}"
    )
    assert prompt(source, Message("user", "a")) == '1g{"a": "<é>"}%'


def test_a_prompt_that_opens_the_reasoning_is_seen():
    """The reply of such a model begins inside its reasoning."""
    call = ChatCall(ModelSettings(MODEL, chat_template=MARKS + "<think>\n"), [Message("user", "a")])
    reader = ReplyReader(call.request().reading)
    assert [type(part).__name__ for part in reader.feed("hm</think>x")] == ["ReasoningDelta", "TextDelta"]
    plain = ChatCall(ModelSettings(MODEL), [Message("user", "what is <think>")]).request()
    assert not plain.reading.inside_reasoning


@pytest.mark.parametrize(
    ("end", "reply"),
    [
        ("<|START_THINKING|>", "hm<|END_THINKING|><|START_TEXT|>x<|END_TEXT|>"),
        ("<mm:think>\n", "hm</mm:think>x"),
        ("[THINK]", "[THINK]hm[/THINK]x"),
        ("<seed:think>", "hm</seed:think>x"),
        ("<think:3f0c-Bx1>\n", "<think:3f0c-Bx1>hm</think:3f0c-Bx1>x"),
    ],
)
def test_a_prompt_may_open_reasoning_with_the_tag_of_any_family(end, reply):
    """What closes it is then the tag of this family."""
    call = ChatCall(ModelSettings(MODEL, chat_template=MARKS + end), [Message("user", "a")])
    assert read_reply(reply, call.request().reading) == ModelReply("x", "hm")


def test_the_answer_of_gpt_oss_does_not_end_with_its_reasoning():
    """In its template, a token that ends a turn elsewhere ends each part of a turn."""
    template = MARKS + "<|start|>assistant{# <|channel|> <|end|> <|return|> #}"
    call = ChatCall(ModelSettings(MODEL, chat_template=template), [Message("user", "a")])
    reply = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>x<|return|>y"
    assert read_reply(reply, call.request().reading) == ModelReply("x", "hm")


def test_a_dialect_may_hold_a_jinja_source():
    """A template string that is no name is Jinja, and one that is neither is an error."""
    dialect = Dialect("mine", "{{ messages | length }}", prompt_template_key="t", always_format=True)
    request = ChatCall(ModelSettings("a/b", dialect), [Message("user", "a")]).request()
    assert request.input == {"prompt": "1", "t": "{prompt}"}
    with pytest.raises(ConfigurationError, match="did you mean 'chatml'"):
        ChatCall(
            ModelSettings("a/b", dialect.replace(chat_template="chatmi")), [Message("user", "a")]
        ).request()
    with pytest.raises(ConfigurationError, match="not PurePosixPath"):
        ChatCall(
            ModelSettings("a/b", dialect.replace(chat_template=PurePosixPath("a"))), [Message("user", "a")]
        ).request()


def test_without_jinja2_the_error_says_what_to_install(monkeypatch):
    """jinja2 is an extra."""
    jinja._environment.cache_clear()
    jinja._compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setitem(sys.modules, "jinja2.sandbox", None)
    with pytest.raises(ConfigurationError, match=re.escape('pip install ".[templates]"')):
        prompt("{{ 1 }}", Message("user", "a"))


@pytest.mark.parametrize(
    ("source", "ends"),
    [
        ("{{ '<|im_start|>' }}{{ '<|im_end|>' }}", {"<|im_start|>", "<|im_end|>"}),
        ("{{ '[INST]' + eos_token }}", {"[INST]", "</s>"}),
        ("{{ '<start_of_turn>user' }}{{ '<end_of_turn>' }}", {"<start_of_turn>", "<end_of_turn>"}),
        ("{{ messages[0].content }}", set()),
        ("{{ '<|turn>user' }}{{ '<turn|>' }}", {"<|turn>", "<turn|>"}),
        ("{{ '<|user|>' }}{{ '<|end|>' }}", {"<|user|>", "<|end|>"}),
        (MARKS, {"<|user|>", "</s>"}),
        ("{{ '<|channel|>final<|message|>' }}{{ '<|end|>' }}{{ '<|return|>' }}", {"<|return|>"}),
    ],
)
def test_a_template_ends_turns_with_its_own_tokens(source, ends):
    """Those that its source mentions, and the end of a text where it writes it."""
    assert set(JinjaTemplate(source).end_tokens) == ends


def test_a_turn_that_is_opened_once_more_is_passed_over():
    """What the rendering ends with is known from the rendering."""
    call = ChatCall(ModelSettings(MODEL, chat_template=STRICT), [Message("user", "Hi")])
    reader = ReplyReader(call.request().reading)
    parts = reader.feed("<start_of_turn>model\nHello!<end_of_turn>\n<start_of_turn>user\nAnd you?")
    assert ([part.text for part in parts], reader.stop_token) == (["Hello!"], "<end_of_turn>")
