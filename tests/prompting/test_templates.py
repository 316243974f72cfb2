import json
from pathlib import Path

import pytest

from rockai_transport.prompting.messages import Message
from rockai_transport.prompting.request.build import ChatCall, ModelSettings
from rockai_transport.prompting.request.chat import arrange
from rockai_transport.prompting.request.dialects import Dialect
from rockai_transport.prompting.request.templates import TEMPLATES, ChatTemplate

SAMPLES = Path(__file__).parents[1] / "samples" / "renderings"


def samples():
    for path in sorted(SAMPLES.glob("*.json")):
        sample = json.loads(path.read_text("utf-8"))
        for rendering in sample["renderings"]:
            yield pytest.param(path.stem, sample["bos"], rendering, id=f"{path.stem}: {rendering['case']}")


def seen_by(model, input):
    """The text before the model, as its server makes it."""
    prompt = input["prompt"]
    if input.get("prompt_template") == "{prompt}":
        return prompt
    if "llama-2" in model and "system_prompt" in input:
        return f"[INST] <<SYS>>\n{input['system_prompt']}\n<</SYS>>\n\n{prompt} [/INST]"
    return prompt


MODELS = {
    "chatml": "someone/hermes-2-pro",
    "command-r": "cohereforai/c4ai-command-r-v01",
    "deepseek": "deepseek-ai/deepseek-v3",
    "deepseek-r1": "deepseek-ai/deepseek-r1",
    "deepseek-v3.1": "deepseek-ai/deepseek-v3.1",
    "gemma": "google/gemma-3-4b-it",
    "gemma-4": "google/gemma-4-31b-it",
    "gemma-4-edge": "google/gemma-4-e4b-it",
    "glm-4.5": "zai-org/glm-4.6",
    "glm-4.7": "zai-org/glm-4.7-flash",
    "glm-5.2": "zai-org/glm-5.2",
    "gpt-oss": "openai/gpt-oss-120b",
    "granite": "ibm-granite/granite-3.0-8b-instruct",
    "kimi-k2": "moonshotai/kimi-k2-instruct",
    "kimi-k2-thinking": "moonshotai/kimi-k2-thinking",
    "kimi-k2.5": "moonshotai/kimi-k2.5",
    "llama-2": "meta/llama-2-7b-chat",
    "llama-3": "meta/meta-llama-3-70b-instruct",
    "llama-4": "meta/llama-4-scout-instruct",
    "minimax-m2": "minimaxai/minimax-m2",
    "mistral": "mistralai/mistral-7b-instruct-v0.1",
    "mistral-v3": "mistralai/mistral-7b-instruct-v0.3",
    "mistral-v3-tekken": "mistralai/mistral-nemo-instruct-2407",
    "mistral-v7": "mistralai/mistral-large-instruct-2411",
    "mistral-v7-tekken": "mistralai/mistral-small-3.2-24b-instruct-2506",
    "nemotron-3": "nvidia/nvidia-nemotron-3-nano-30b-a3b-bf16",
    "openchat": "openchat/openchat-3.5-0106",
    "phi-3": "microsoft/phi-3.5-mini-instruct",
    "phi-4": "microsoft/phi-4",
    "phi-4-mini": "microsoft/phi-4-mini-instruct",
    "plain": "someone/anything",
    "qwen": "qwen/qwen3-30b-a3b-instruct-2507",
    "qwen3-thinking": "qwen/qwen3-next-80b-a3b-thinking",
    "qwen3.5": "qwen/qwen3.5-4b",
    "seed-oss": "bytedance-seed/seed-oss-36b-instruct",
    "vicuna": "lmsys/vicuna-13b-v1.5",
    "zephyr": "huggingfaceh4/zephyr-7b-beta",
}


def call(name, rendering):
    messages = [Message(role, text) for role, text in rendering["messages"]]
    settings = ModelSettings(MODELS[name], dialect="plain" if name == "plain" else None)
    return ChatCall(settings, messages)


@pytest.mark.parametrize(("name", "bos", "rendering"), list(samples()))
def test_reference_renderings_come_out_exactly_but_for_the_leading_bos(name, bos, rendering):
    """A template renders what the family's published template renders, without the BOS."""
    messages = [Message(role, text) for role, text in rendering["messages"]]
    template = TEMPLATES[name]
    assert template.render(*arrange(messages, template)) == rendering["rendering"].removeprefix(bos)


@pytest.mark.parametrize(("name", "bos", "rendering"), list(samples()))
def test_a_conversation_reaches_the_model_in_its_reference_rendering(name, bos, rendering):
    """Whoever applies the template, with a system message or several turns the model sees the reference."""
    request = call(name, rendering).request()
    roles = [role for role, _ in rendering["messages"]]
    if roles == ["user"]:
        assert request.input == {"prompt": rendering["messages"][0][1]}
        return
    seen = seen_by(request.model, request.input)
    if name == "llama-2" and "system" not in roles:
        # The one documented difference: an empty system block, which the server cannot be told to leave out.
        assert request.input["system_prompt"] == ""
        seen = seen.replace("<<SYS>>\n\n<</SYS>>\n\n", "", 1)
    assert seen == rendering["rendering"].removeprefix(bos)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_is_a_chat_template(name):
    """The built-in templates satisfy the protocol that a user's own must satisfy."""
    assert isinstance(TEMPLATES[name], ChatTemplate)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_every_sample_names_its_source(path):
    """A reference rendering without a source is no reference."""
    assert json.loads(path.read_text("utf-8"))["source"]


@pytest.mark.parametrize("name", ["mistral-v7", "mistral-v7-tekken", "deepseek", "deepseek-r1"])
def test_roles_alternate_although_system_text_has_its_own_place(name):
    """Mistral's templates refuse two user turns, and DeepSeek's would run a later system text into a turn."""
    first, *others = [Message("user", "a"), Message("user", "b"), Message("assistant", "c")]
    later = [*others, Message("system", "S"), Message("user", "d")]
    system, turns = arrange([Message("system", "s"), first, *later], TEMPLATES[name])
    assert system == "s"
    assert [(turn.role, turn.text) for turn in turns] == [
        ("user", "a\n\nb"),
        ("assistant", "c"),
        ("user", "S\n\nd"),
    ]


@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("chatml", "<|im_start|>tool\n{}\n{}<|im_end|>\n"),
        ("qwen", "<|im_start|>user\n{}\n{}<|im_end|>\n"),
        ("qwen3-thinking", "<|im_start|>user\n{}\n{}<|im_end|>\n"),
        ("qwen3.5", "<|im_start|>user\n{}\n{}<|im_end|>\n"),
        ("nemotron-3", "<|im_start|>user\n{}\n{}\n<|im_end|>\n"),
        ("glm-4.5", "<|observation|>\n{}\n{}"),
        ("glm-4.7", "<|observation|>{}\n{}"),
        ("glm-5.2", "<|observation|>{}\n{}"),
        ("minimax-m2", "]~b]tool\n{}\n{}[e~[\n"),
        ("kimi-k2.5", "<|im_system|>tool<|im_middle|>{}<|im_end|><|im_system|>tool<|im_middle|>{}<|im_end|>"),
        ("seed-oss", "<seed:bos>tool\n{}<seed:eos><seed:bos>tool\n{}<seed:eos>"),
        ("gpt-oss", "<|start|>user<|message|>{}<|end|><|start|>user<|message|>{}<|end|>"),
        ("vicuna", "USER: {}\n\n{} "),
    ],
)
def test_results_stand_in_the_turn_that_the_template_has_for_them(name, turn):
    """Qwen's results are in a user's turn: its models never saw a role «tool»."""
    template = TEMPLATES[name]
    called = [Message("user", "a"), Message("assistant", "b")]
    results = [Message("tool", "1"), Message("tool", "2")]
    before = template.render(*arrange(called[:1], template)).removesuffix(template.cue)
    said = template.assistant[0] + "b" + template.assistant[1]
    written = turn.format(*(f'<tool_response>{{"content": "{one}"}}</tool_response>' for one in "12"))
    assert template.render(*arrange(called + results, template)) == before + said + written + template.cue


def test_every_template_has_a_reference():
    """What is not compared with a published template is not known to be like it; 3.1's adds only dates."""
    assert set(TEMPLATES) - {path.stem for path in SAMPLES.glob("*.json")} == {"llama-3.1"}


def test_every_template_can_be_found_by_its_name_in_the_dialect_s_docstring():
    """It is the list of what `chat_template` accepts."""
    assert [name for name in TEMPLATES if f"``{name}``" not in str(Dialect.__doc__)] == []


def test_bos_is_sent_between_turns_only():
    """Llama 2 wants a BOS before each later turn; the first one is the tokenizer's."""
    messages = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
    prompt = ChatCall(ModelSettings("meta/llama-2-7b-chat"), messages).request().input["prompt"]
    assert prompt == "a [/INST] b </s><s>[INST] c"
