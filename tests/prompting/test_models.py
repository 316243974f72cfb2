import copy
import pickle
import re

import pytest

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.request.dialects import DIALECTS, Dialect
from rockai_transport.prompting.request.jinja import JinjaTemplate
from rockai_transport.prompting.request.models import MODELS, PATTERNS, resolve_dialect

SEEN = {
    "mistralai/mistral-7b-instruct-v0.1": "mistral",
    "meta/llama-2-7b-chat": "llama-2",
    "meta/meta-llama-3-70b-instruct": "llama-3",
    "incomingflyingbrick/flux-1-schnell": "text-to-image",
    "meta/musicgen": "text-to-music",
}


@pytest.mark.parametrize(("model", "dialect"), SEEN.items())
def test_a_model_of_the_table_is_strict(model, dialect):
    """Every key of a seen model was seen, in a source that is named."""
    found = resolve_dialect(model)
    assert (found.name, found.is_strict) == (dialect, True)
    assert all(key.source for key in found.keys)


def test_a_version_does_not_change_the_dialect():
    """References match by name, in any case; the quick start's video model by its bare version too."""
    version = "5821a338d00033abaaba89080a17eb8783d9a17ed710a6b4246a18e0900ccad4"
    assert resolve_dialect("Meta/Llama-2-7b-Chat:0a01ff") is MODELS["meta/llama-2-7b-chat"]
    assert resolve_dialect(version).image_key == "image"
    assert resolve_dialect(f"someone/animate:{version}").image_key == "image"


@pytest.mark.parametrize(
    ("model", "template"),
    [
        ("meta/llama-2-70b-chat", "llama-2"),
        ("meta/codellama-34b-instruct", "llama-2"),
        ("meta/meta-llama-3-8b-instruct", "llama-3"),
        ("meta/meta-llama-3.1-405b-instruct", "llama-3.1"),
        ("mistralai/mistral-7b-instruct-v0.2:abc", "mistral"),
        ("mistralai/mixtral-8x7b-instruct-v0.1", "mistral"),
        ("nousresearch/hermes-2-pro-mistral-7b-instruct", "chatml"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen"),
        ("qwen/qwen3-235b-a22b", "qwen"),
        ("qwen/qwen3-235b-a22b-instruct-2507", "qwen"),
        ("qwen/qwen2-72b-instruct", "chatml"),
        ("qwen/qwen1.5-72b-chat", "chatml"),
        ("qwen/qwen3-30b-a3b-thinking-2507", "qwen3-thinking"),
        ("qwen/qwq-32b", "qwen3-thinking"),
        ("qwen/qwen3.5-397b-a17b", "qwen3.5"),
        ("qwen/qwen3.6-27b", "qwen3.5"),
        ("openai/gpt-oss-20b", "gpt-oss"),
        ("openai/gpt-oss-120b", "gpt-oss"),
        ("zai-org/glm-4.5-air", "glm-4.5"),
        ("zai-org/glm-4.6", "glm-4.5"),
        ("zai-org/glm-4.7-flash", "glm-4.7"),
        ("zai-org/glm-5", "glm-4.7"),
        ("zai-org/glm-5.1-fp8", "glm-4.7"),
        ("zai-org/glm-5.2", "glm-5.2"),
        ("minimaxai/minimax-m2", "minimax-m2"),
        ("minimaxai/minimax-m2.5", "minimax-m2"),
        ("moonshotai/kimi-k2.5", "kimi-k2.5"),
        ("nvidia/nvidia-nemotron-3-nano-30b-a3b-bf16", "nemotron-3"),
        ("lmsys/vicuna-13b-v1.5", "vicuna"),
        ("databricks/dbrx-instruct", "chatml"),
        ("internlm/internlm2_5-7b-chat", "chatml"),
        ("openbmb/minicpm3-4b", "chatml"),
        ("tinyllama/tinyllama-1.1b-chat-v1.0", "zephyr"),
        ("ibm-granite/granite-4.0-h-small", "granite"),
        ("deepseek-ai/deepseek-v2.5", "deepseek"),
        ("deepseek-ai/deepseek-v3.2-exp", "deepseek-v3.1"),
        ("deepseek-ai/deepseek-v4-flash", "deepseek-v3.1"),
        ("google/gemma-4-12b-it", "gemma-4"),
        ("me/chatml-7b", "chatml"),
        ("01-ai/yi-34b-chat", "chatml"),
        ("snowflake/snowflake-arctic-instruct", "chatml"),
        ("nousresearch/hermes-3-llama-3.1-8b", "chatml"),
        ("nousresearch/hermes-4-14b", "chatml"),
        ("nousresearch/hermes-4-70b", "llama-3.1"),
        ("nousresearch/deephermes-3-llama-3-8b-preview", "llama-3"),
        ("nvidia/llama-3.3-nemotron-super-49b-v1.5", "llama-3"),
        ("meta/llama-4-maverick-instruct", "llama-4"),
        ("mistralai/mistral-7b-instruct-v0.3", "mistral-v3"),
        ("mistralai/mixtral-8x22b-instruct-v0.1", "mistral-v3"),
        ("mistralai/mistral-large-instruct-2407", "mistral-v3"),
        ("mistralai/mistral-small-instruct-2409", "mistral-v3"),
        ("mistralai/mistral-nemo-instruct-2407", "mistral-v3-tekken"),
        ("mistralai/ministral-8b-instruct-2410", "mistral-v3-tekken"),
        ("mistralai/mistral-large-instruct-2411", "mistral-v7"),
        ("mistralai/mistral-small-24b-instruct-2501", "mistral-v7-tekken"),
        ("mistralai/mistral-small-3.1-24b-instruct-2503", "mistral-v7-tekken"),
        ("mistralai/devstral-small-2507", "mistral-v7-tekken"),
        ("mistralai/mistral-large-3-675b-instruct-2512", "mistral-v7-tekken"),
        ("mistralai/ministral-3-14b-instruct-2512", "mistral-v7-tekken"),
        ("google-deepmind/gemma-2b-it", "gemma"),
        ("google/gemma-2-27b-it", "gemma"),
        ("google/gemma-3n-e4b-it", "gemma"),
        ("microsoft/phi-3-mini-128k-instruct", "phi-3"),
        ("microsoft/phi-4", "phi-4"),
        ("microsoft/phi-4-mini-instruct", "phi-4-mini"),
        ("ibm-granite/granite-3.3-8b-instruct", "granite"),
        ("deepseek-ai/deepseek-r1-distill-llama-70b", "deepseek-r1"),
        ("deepseek-ai/deepseek-v3-0324", "deepseek"),
        ("deepseek-ai/deepseek-r1-0528", "deepseek"),
        ("deepseek-ai/deepseek-v3.1-terminus", "deepseek-v3.1"),
        ("moonshotai/kimi-k2-instruct-0905", "kimi-k2"),
        ("moonshotai/kimi-k2-thinking", "kimi-k2-thinking"),
        ("coherelabs/c4ai-command-r-plus", "command-r"),
        ("coherelabs/aya-expanse-32b", "command-r"),
        ("nateraw/openchat_3.5-awq", "openchat"),
        ("berkeley-nest/starling-lm-7b-alpha", "openchat"),
        ("huggingfaceh4/zephyr-7b-alpha", "zephyr"),
        ("google/gemma-4-26b-a4b-it", "gemma-4"),
        ("google/gemma-4-e2b-it", "gemma-4-edge"),
        ("bytedance-seed/seed-oss-36b-instruct", "seed-oss"),
        ("liquidai/lfm2-8b-a1b", "chatml"),
        ("nvidia/mistral-nemo-12b-instruct", "mistral-v3-tekken"),
    ],
)
def test_a_relative_is_taken_to_be_like_the_model_that_was_seen(model, template):
    """A name pattern gives the template; the keys are assumed, and nothing is refused."""
    found = resolve_dialect(model)
    assert (found.chat_template, found.is_strict) == (template, False)
    assert all(key.evidence == "assumed" for key in found.keys)


@pytest.mark.parametrize(
    ("model", "window"),
    [
        ("mistralai/mistral-7b-instruct-v0.1:abc", 8192),
        ("mistralai/mistral-7b-instruct-v0.2", 32768),
        ("mistralai/mixtral-8x7b-instruct-v0.1", 32768),
        ("meta/codellama-13b-instruct", 16384),
        ("meta/llama-2-13b-chat", 4096),
        ("meta/meta-llama-3.1-8b-instruct", 131072),
    ],
)
def test_a_relative_has_its_own_context_window(model, window):
    """A max_tokens that it has room for is not refused because the model that was seen has less."""
    assert resolve_dialect(model).context_window == window


@pytest.mark.parametrize(
    "model",
    [
        "nousresearch/nous-hermes-llama2-13b",
        "nousresearch/nous-hermes-13b",
        "teknium/openhermes-13b",
        "austism/chronos-hermes-13b",
        "nousresearch/redmond-hermes-coder",
        "nousresearch/hermes-4.3-36b",
        "nvidia/mistral-nemo-minitron-8b-instruct",
        "mistralai/pixtral-large-instruct-2411",
        "mistralai/devstral-small-2-24b-instruct-2512",
        "georgesung/llama2_7b_chat_uncensored",
        "flagalpha/llama2-chinese-13b-chat",
        "bytedance/dolphin",
        "cognitivecomputations/dolphin-llama2-7b",
        "dphn/dolphin-mistral-24b-venice-edition",
        "deepseek-ai/deepseek-v3.1-base",
        "google/gemma-4-31b",
        "huggingfaceh4/zephyr-7b-gemma-v0.1",
        "openchat/openchat-3.6-8b-20240522",
        "coherelabs/c4ai-command-r7b-12-2024",
        "liquidai/lfm2-vl-1.6b",
        "microsoft/phi-4-reasoning",
        "openai/gpt-oss-safeguard-20b",
        "zai-org/glm-4.5-air-base",
        "zai-org/glm-4.6v",
        "minimaxai/minimax-m3",
        "replicate/vicuna-13b",
        "qwen/qwen3.5-2b",
        "qwen/qwen3.5-9b-base",
        "ibm-granite/granite-4.0-h-small-base",
        "nvidia/nvidia-nemotron-3-super-120b-a12b-base-bf16",
        "deepseek-ai/deepseek-v3.2-speciale",
        "qwen/qwen3-embedding-8b",
    ],
)
def test_a_namesake_with_another_template_is_not_taken_for_a_relative(model):
    """Nothing says that their templates are those of models with a similar name; often they are not."""
    assert resolve_dialect(model).chat_template is None


@pytest.mark.parametrize(
    "model", ["who/knows", "a" * 64, "meta/llama-2-7b", "stability/sdxl", "meta/codellama-70b-instruct"]
)
def test_an_unknown_model_has_no_template(model):
    """Nothing is guessed about a model that matches nothing."""
    found = resolve_dialect(model)
    assert (found.chat_template, found.prompt_template_key, found.is_strict) == (None, None, False)


def test_the_users_dialect_is_taken_as_it_is():
    """By name or whole, it beats what the model's name says."""
    mine = Dialect("mine", "chatml", prompt_key="text")
    assert resolve_dialect("meta/llama-2-7b-chat", mine) is mine
    assert resolve_dialect("meta/llama-2-7b-chat", "chatml") is DIALECTS["chatml"]


def test_a_wrong_dialect_names_the_nearest():
    """A misspelt dialect is an error before anything is sent, and so is a model that is no text."""
    for model in (None, 5, b"a/b", ["a/b"]):
        with pytest.raises(ConfigurationError, match="must be a text"):
            Dialect.of(model)
    with pytest.raises(ConfigurationError, match=re.escape("did you mean 'llama-2'?")):
        resolve_dialect("a/b", "lama2")


def test_a_chat_template_replaces_the_dialects():
    """It is used for single turns too: who gives one does not want the server's."""
    found = resolve_dialect("mistralai/mistral-7b-instruct-v0.1", chat_template="{{ messages }}")
    assert (found.chat_template, found.always_format) == ("{{ messages }}", True)
    assert found.prompt_template_key == "prompt_template"
    assert resolve_dialect("who/knows", chat_template="{{ messages }}").prompt_template_key


@pytest.mark.parametrize("model", ["meta/llama-2-7b-chat", "meta/llama-2-70b-chat", "meta/musicgen"])
def test_a_chat_template_is_an_error_where_the_server_applies_its_own(model):
    """Without a prompt_template input the server's template cannot be switched off."""
    with pytest.raises(ConfigurationError, match="prompt_template"):
        resolve_dialect(model, chat_template="{{ messages }}")


def test_replacing_a_key_makes_it_one_the_model_takes():
    """A user who names an image key of a strict model has seen it."""
    found = resolve_dialect("meta/llama-2-7b-chat").replace(image_key="picture")
    assert "picture" in {key.name for key in found.keys}
    assert found.is_strict
    with pytest.raises(TypeError):
        found.replace(nonsense=1)


def test_copy_replace_is_the_dialects_own():
    """`copy.replace` calls this method; a dataclass's own forgot the new key among those of the model."""
    dialect = resolve_dialect("meta/llama-2-7b-chat")
    changes = {"image_key": "picture"}
    assert dialect.__replace__(**changes) == dialect.replace(**changes)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"prompt_key": None}, "Dialect(prompt_key=None) must be str."),
        ({"stop_key": ["stop"]}, "Dialect(stop_key=['stop']) must be str | None."),
        ({"context_window": "8192"}, "Dialect(context_window='8192') must be int | None."),
        ({"fixed_inputs": None}, "Dialect(fixed_inputs=None) must be Mapping[str, Any]."),
        ({"stop_at_turn_end": "no"}, "Dialect(stop_at_turn_end='no') must be bool."),
        ({"server_template": {}}, "Dialect(server_template={}) must be ServerTemplate | None."),
        ({"keys": ("prompt",)}, "Dialect(keys=('prompt',)) must be a tuple of InputKey objects."),
        ({"system_prompt_key": "prompt"}, "Dialect 'mine' has two uses for the key 'prompt'."),
        ({"prompt_key": ""}, "Dialect 'mine' has an empty key. None: the model has no such input."),
        ({"image_key": " "}, "Dialect 'mine' has an empty key. None: the model has no such input."),
        ({"context_window": -1}, "Dialect(context_window=-1) must be a whole number, 1 or more."),
        ({"max_images": True}, "Dialect(max_images=True) must be a whole number, 0 or more."),
    ],
)
def test_a_dialect_that_cannot_be_right_is_refused_where_it_is_made(wrong, said):
    """A wrong type crashed in a call, and one of two texts under the same key was lost."""
    for make in (lambda: Dialect("mine", **wrong), lambda: Dialect("mine").replace(**wrong)):
        with pytest.raises(ConfigurationError, match=f"^{re.escape(said)}$"):
            make()


@pytest.mark.parametrize(
    "dialect",
    [
        *DIALECTS.values(),
        *MODELS.values(),
        *PATTERNS.values(),
        Dialect("j", JinjaTemplate("{{ 1 }}")),
    ],
    ids=lambda dialect: dialect.name,
)
def test_dialects_travel(dialect):
    """A dialect can be pickled, copied, compared and hashed, as settings must."""
    pickled = pickle.loads(pickle.dumps(dialect))  # noqa: S301 - its own pickle
    for other in (pickled, copy.deepcopy(dialect)):
        assert other == dialect
        assert hash(other) == hash(dialect)
