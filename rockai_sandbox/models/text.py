"""The text models: build the text that a real model would get from the input, and answer in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from rockai_sandbox.functions import ModelFunction
from rockai_sandbox.inputs import Inputs, integer, number, text
from rockai_sandbox.models.answers import answer
from rockai_sandbox.models.templates import CHATML, LLAMA_2, LLAMA_3, MISTRAL, Template
from rockai_sandbox.registry import Model, made_up_version
from rockai_sandbox.tokens import split_tokens

DEFAULT_TOKENS = 512
LLAMA_2_DEFAULT_SYSTEM = (
    "You are a helpful, respectful and honest assistant. "
    "Always answer as helpfully as possible, while being safe."
)
"""Assumed: docs/http-api.md says that there is a default, but not its text."""


@dataclass(frozen=True)
class TextModel:
    """A text model: how its server builds the prompt text, and how the model reads that text.

    Attributes:
        name: ``owner/name``.
        version: 64 hex digits.
        template: The template with which the model reads the text.
        server_template: The template that its server applies, unless ``prompt_template`` overrides it.
        inputs: The inputs that its server accepts.
        max_tokens_key: The input that limits the answer's length.
        default_system: The value of ``{system_prompt}`` if the input has none.
    """

    name: str
    version: str
    template: Template
    server_template: str
    inputs: Inputs
    max_tokens_key: str
    default_system: str = ""

    def seen_text(self, given: Mapping[str, Any]) -> str:
        """Return the text that the model gets: its server's template with the input filled in."""
        template: str = given.get("prompt_template", self.server_template)
        system: str = given.get("system_prompt", self.default_system)
        head, placeholder, tail = template.partition("{prompt}")
        prompt = given["prompt"] if placeholder else ""  # a template without the placeholder drops the prompt
        return head.replace("{system_prompt}", system) + prompt + tail.replace("{system_prompt}", system)

    def reply(self, given: Mapping[str, Any]) -> str:
        """Return the whole answer to an input."""
        return answer(self.template.read(self.seen_text(given)), self.name)

    def function(self) -> ModelFunction:
        """Return the model's function, which yields the answer piece by piece."""

        async def speak(given: dict[str, Any]) -> AsyncIterator[str]:
            limit = int(given.get(self.max_tokens_key, DEFAULT_TOKENS))
            for piece in split_tokens(self.reply(given))[:limit]:
                yield piece

        return speak

    def model(self) -> Model:
        """Return the entry for the registry."""
        return Model(self.name, self.version, self.function(), self.inputs)


_MARKS = {"<|im_start|>": CHATML, "<|start_header_id|>": LLAMA_3, "<<SYS>>": LLAMA_2, "[INST]": MISTRAL}


def any_text_model(name: str) -> Model:
    """Return a text model with any name; it chooses the template by the tokens in the prompt."""

    async def speak(given: dict[str, Any]) -> AsyncIterator[str]:
        prompt = str(given.get("prompt", ""))
        mark = next((mark for mark in _MARKS if mark in prompt), "")
        seen = prompt if mark else CHATML_MODEL.server_template.replace("{prompt}", prompt)
        for piece in split_tokens(answer(_MARKS.get(mark, CHATML).read(seen), name)):
            yield piece

    return Model(name, made_up_version(name), speak, any_version=True)


SAMPLING: Inputs = {"temperature": number(), "top_p": number()}

MISTRAL_7B = TextModel(
    name="mistralai/mistral-7b-instruct-v0.1",
    version="5fe0a3d7ac2852264a25279d1dfb798acbc4d49711d126646594e212cb821749",
    template=MISTRAL,
    server_template="<s>[INST] {prompt} [/INST]",
    max_tokens_key="max_new_tokens",
    inputs={
        "prompt": text(required=True),
        **SAMPLING,
        "top_k": integer(),
        "max_new_tokens": integer(at_least=1),
        "min_new_tokens": integer(at_least=-1),
        "prompt_template": text(),
        "repetition_penalty": number(),
    },
)

LLAMA_2_7B = TextModel(
    name="meta/llama-2-7b-chat",
    version="f1d50bb24186c52daae319ca8366e53debdaa9e0ae7ff976e918df752732ccc4",
    template=LLAMA_2,
    server_template="[INST] <<SYS>>\n{system_prompt}\n<</SYS>>\n\n{prompt} [/INST]",
    default_system=LLAMA_2_DEFAULT_SYSTEM,
    max_tokens_key="max_new_tokens",
    inputs={
        "prompt": text(required=True),
        "system_prompt": text(),
        **SAMPLING,
        "max_new_tokens": integer(at_least=1),
        "repetition_penalty": number(),
    },
)

LLAMA_3_70B = TextModel(
    name="meta/meta-llama-3-70b-instruct",
    version=made_up_version("meta/meta-llama-3-70b-instruct"),  # no source shows one
    template=LLAMA_3,
    server_template=(
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful assistant<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n{prompt}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    max_tokens_key="max_tokens",
    inputs={
        "prompt": text(required=True),
        "prompt_template": text(),
        **SAMPLING,
        "max_tokens": integer(at_least=1),
        "min_tokens": integer(at_least=0),
        "presence_penalty": number(),
        "frequency_penalty": number(),
    },
)

CHATML_MODEL = TextModel(
    name="sandbox/chatml",
    version=made_up_version("sandbox/chatml"),
    template=CHATML,
    server_template="<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n",
    max_tokens_key="max_tokens",
    inputs={
        "prompt": text(required=True),
        "prompt_template": text(),
        **SAMPLING,
        "max_tokens": integer(at_least=1),
    },
)

TEXT_MODELS = (MISTRAL_7B, LLAMA_2_7B, LLAMA_3_70B, CHATML_MODEL)
