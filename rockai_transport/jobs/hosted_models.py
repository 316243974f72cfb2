"""The models that an agent may run: only those that the developer lists, each with its inputs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from rockai_transport.config import check_choice
from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs.budget import Money, Price, amount
from rockai_transport.prompting.reply.schema_values import allowed_types
from rockai_transport.protocol.inputs import check_input, read_open_files
from rockai_transport.protocol.references import ModelReference

Output = Literal["video", "image", "audio", "text"]

_TOOL_NAME = r"[a-zA-Z0-9_-]{1,64}"  # what OpenAI and Anthropic accept as a tool's name
_LONGEST_DESCRIPTION = 800  # OpenAI's and LlamaIndex's limit is 1024, with what the tool adds


def object_schema(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the JSON schema of an object with these properties, and no others."""
    properties = deepcopy({**required, **(optional or {})})
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {**schema, "additionalProperties": False}


def text_schema(description: str) -> dict[str, Any]:
    """Return the JSON schema of a text that is not empty."""
    return {"type": "string", "minLength": 1, "description": description}


def _number_schema(kind: str, least: int, description: str) -> dict[str, Any]:
    return {"type": kind, "minimum": least, "description": description}


_PROMPT_ONLY = object_schema({"prompt": {"type": "string", "description": "What to make."}})


@dataclass(frozen=True)
class HostedModel:
    """A model that an agent may run. It becomes a tool of that name, with the model's inputs as arguments.

    Args:
        name: The tool's name: letters, digits, ``_`` and ``-``, 64 at most.
        model: ``owner/name``, ``owner/name:version`` or a version of 64 hex digits.
        description: What the model does, for the agent to read; 800 characters at most.
        input_schema: The inputs that the agent may set: a JSON schema of an object, or a pydantic class.
            None: only a ``prompt``. Unlisted keys are refused, unless the schema sets
            ``additionalProperties`` itself.
        defaults: Inputs that are sent if the agent does not set them. Inputs that ``input_schema`` does not
            list are always sent, and the agent can neither see nor change them. An open file is read at
            once, a `Path` for each start.
        output: The kind of output, as the agent reads it: ``"video"``, ``"image"``, ``"audio"`` or
            ``"text"``. None: not stated; the output shows whether it is text or files.
        usual_cold_start: Seconds within which a cold model is usually ready; the agent reads this while it
            waits. Default: 1200; 0: not stated. The service says a few minutes to ten-odd, up to twenty
            (docs/http-api.md).
        cost_per_run: The cost of each run, in a unit of your choice, the same as for ``max_cost``. A
            `Decimal`, a text, or a float, which is read as written. The service has no API call for prices.
        cost_per_second: The cost of each second of ``metrics.predict_time``. It needs ``longest_seconds``.
        longest_seconds: The seconds of a run for which cost is reserved. The service does not enforce this
            limit.

    Raises:
        ConfigurationError: One of these is invalid.

    Example:
        >>> HostedModel("draw", "incomingflyingbrick/flux-1-schnell", "Draw a picture.", output="image").name
        'draw'
    """

    name: str
    model: str
    description: str
    input_schema: Any = field(default=None, hash=False)
    defaults: Mapping[str, Any] = field(default_factory=dict, hash=False)
    output: Output | None = None
    usual_cold_start: float = 1200.0
    cost_per_run: Money | None = None
    cost_per_second: Money | None = None
    longest_seconds: Money | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(_TOOL_NAME, self.name):
            raise ConfigurationError(
                f"HostedModel name {self.name!r} names a tool: it must be 1 to 64 letters, digits, '_' or "
                "'-'."
            )
        if not isinstance(self.description, str) or not self.description.strip():
            raise ConfigurationError(
                f"HostedModel {self.name} needs a description: an agent chooses tools by it."
            )
        if len(self.description) > _LONGEST_DESCRIPTION:
            raise self._wrong(f"description is longer than {_LONGEST_DESCRIPTION} characters.")
        if self.output is not None:
            check_choice(self.output, f"HostedModel {self.name}: output", Output)
        if not _is_dict(self.defaults):
            raise self._wrong("defaults must be a dict of inputs.")
        if check_input(self.defaults):
            sent = read_open_files(self.defaults, f"HostedModel {self.name}: defaults")
            object.__setattr__(self, "defaults", sent)
        amount(self.usual_cold_start, f"HostedModel {self.name}: usual_cold_start")
        ModelReference.parse(self.model)
        longest = amount(self.longest_seconds or 0, f"HostedModel {self.name}: longest_seconds")
        if self.cost_per_second is not None and not longest:
            text = "cost_per_second needs longest_seconds: the seconds that are reserved for a run."
            raise self._wrong(text)
        _ = self.price  # refuses invalid amounts
        schema = self.json_schema
        is_object = schema.get("type", "object") == "object" and "object" in allowed_types(schema)
        if not is_object or not _is_dict(schema.get("properties", {})):
            raise self._wrong("input_schema must be the JSON schema of an object.")

    @property
    def json_schema(self) -> Mapping[str, Any]:
        """The inputs as JSON schema, as the developer gave them.

        Example:
            >>> GENERATE_IMAGE.json_schema["required"]
            ['prompt']
        """
        if self.input_schema is None:
            return _PROMPT_ONLY
        if isinstance(self.input_schema, Mapping):
            return self.input_schema
        if not (isinstance(self.input_schema, type) and hasattr(self.input_schema, "model_json_schema")):
            given = f"{self.input_schema!r:.100}"
            raise self._wrong(f"input_schema must be a JSON schema or a pydantic class, not {given}.")
        try:
            schema: Mapping[str, Any] = self.input_schema.model_json_schema()
        except Exception as error:  # pydantic's errors: it is the caller's own
            raise self._wrong(f"input_schema has no JSON schema: {error}") from error
        return schema

    @cached_property
    def price(self) -> Price | None:
        """The price of a run and the amount reserved for it; None: no price is set.

        Example:
            >>> priced = HostedModel("draw", "a/b", "Draws.", cost_per_run=0.1, cost_per_second="0.02",
            ...                      longest_seconds=60)
            >>> print(priced.price.reserved)
            1.30
        """
        names = ("cost_per_run", "cost_per_second", "longest_seconds")
        given = {name: 0 if (value := getattr(self, name)) is None else value for name in names}
        amounts = [str(amount(value, f"HostedModel {self.name}: {name}")) for name, value in given.items()]
        is_priced = self.cost_per_run is not None or self.cost_per_second is not None
        return Price(*amounts) if is_priced else None

    def _wrong(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"HostedModel {self.name}: {why}")


def _is_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


GENERATE_IMAGE = HostedModel(
    name="generate_image",
    model="incomingflyingbrick/flux-1-schnell",
    description="Make a still image from a description. Takes seconds when the model is warm.",
    input_schema=object_schema({"prompt": text_schema("What the image shows, in detail.")}),
    output="image",
)
"""Text to image (docs/http-api.md: flux-1-schnell, input ``prompt``).

Example:
    >>> client.run(GENERATE_IMAGE.model, {"prompt": "a lighthouse"}).output
    ['http...png']
"""

ANIMATE_IMAGE = HostedModel(
    name="animate_image",
    model="5821a338d00033abaaba89080a17eb8783d9a17ed710a6b4246a18e0900ccad4",
    description=(
        "Make a short video from a still image and a description of the motion. Takes minutes and costs "
        "money."
    ),
    input_schema=object_schema(
        {
            "image": {
                "type": "string",
                "pattern": "^(https?://|data:)",
                "description": "URL of the still image, as generate_image gives it; not a file name.",
            },
            "prompt": text_schema("What moves in the video, and how."),
        },
        {
            "max_frames": _number_schema("integer", 1, "How many frames; 16 is usual."),
            "guidance_scale": _number_schema("number", 0, "How closely to follow the prompt; 9 is usual."),
            "num_inference_steps": _number_schema(
                "integer", 1, "More steps, more detail and more time; 50 is usual."
            ),
        },
    ),
    output="video",
)
"""Image to video: the version of the quick start's first example, with that example's inputs.

Example:
    >>> list(ANIMATE_IMAGE.json_schema["properties"])
    ['image', 'prompt', 'max_frames', 'guidance_scale', 'num_inference_steps']
"""
