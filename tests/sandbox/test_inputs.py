"""Inputs are checked against the wire page's table, and refused in pydantic's own words."""

from typing import Annotated

import pytest
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, UrlConstraints, ValidationError

from rockai_sandbox.inputs import integer, number, problems, text, url
from rockai_sandbox.models.media import IMAGE_INPUTS, MUSIC_INPUTS, VIDEO_INPUTS
from rockai_sandbox.models.text import LLAMA_2_7B, LLAMA_3_70B, MISTRAL_7B


class Reference(BaseModel):
    """The same inputs, as a model server declares them."""

    model_config = ConfigDict(extra="forbid")
    prompt: str
    steps: int = Field(1, ge=1, le=50)
    scale: float = 1.0
    image: Annotated[AnyUrl, UrlConstraints(allowed_schemes=["http", "https", "data"])] = AnyUrl("data:")


OURS = {
    "prompt": text(required=True),
    "steps": integer(at_least=1, at_most=50),
    "scale": number(),
    "image": url(),
}


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": "x"},
        {},
        {"prompt": 1},
        {"prompt": None},
        {"prompt": "x", "steps": "2"},
        {"prompt": "x", "steps": "two"},
        {"prompt": "x", "steps": 2.0},
        {"prompt": "x", "steps": 2.5},
        {"prompt": "x", "steps": True},
        {"prompt": "x", "steps": None},
        {"prompt": "x", "steps": [1]},
        {"prompt": "x", "steps": 0},
        {"prompt": "x", "steps": 51},
        {"prompt": "x", "scale": 1},
        {"prompt": "x", "scale": "1.5"},
        {"prompt": "x", "scale": "much"},
        {"prompt": "x", "scale": False},
        {"prompt": "x", "scale": {}},
        {"prompt": "x", "temprature": 0.5},
        {"promt": "x", "steps": "two", "other": None},
        *(
            {"prompt": "x", "image": image}
            for image in (
                *(
                    "statue.png",
                    "./statue.png",
                    "/home/me/statue.png",
                    "C:\\statue.png",
                    "//cdn/x",
                    "",
                    "?:x",
                ),
                *(
                    "ftp://x/y",
                    "file:///x",
                    "s3://x/y",
                    "example.com/x.png",
                    "localhost:80/x",
                    "http://",
                    "https:",
                ),
                *(
                    "https://x/y",
                    "HTTP://X/y",
                    " https://x ",
                    "data:image/png;base64,AAAA",
                    None,
                    3,
                    [],
                ),
            )
        ),
    ],
    ids=repr,
)
def test_problems_are_pydantic_s_own(given):
    """Type, place, message, input and context equal pydantic's, in its order."""
    expected = []
    try:
        Reference.model_validate(given)
    except ValidationError as error:
        expected = error.errors(include_url=False)
    for entry in expected:
        entry["loc"] = ["body", "input", *entry["loc"]]
    assert problems(OURS, given) == expected


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (
            MISTRAL_7B.inputs,
            "prompt temperature top_p top_k max_new_tokens min_new_tokens prompt_template repetition_penalty",
        ),
        (LLAMA_2_7B.inputs, "prompt system_prompt temperature top_p max_new_tokens repetition_penalty"),
        (
            LLAMA_3_70B.inputs,
            (
                "prompt prompt_template temperature top_p max_tokens min_tokens "
                "presence_penalty frequency_penalty"
            ),
        ),
        (IMAGE_INPUTS, "prompt"),
        (VIDEO_INPUTS, "image prompt max_frames guidance_scale num_inference_steps"),
        (MUSIC_INPUTS, "prompt model_version output_format normalization_strategy"),
    ],
)
def test_the_built_in_models_know_the_wire_page_s_inputs_only(inputs, names):
    """No more and no fewer than the table lists."""
    assert set(inputs) == set(names.split())


def test_an_unknown_input_is_422_and_starts_nothing(sandbox, api):
    """A wrong parameter name is an error, not a no-op."""
    answer = api.post("/run", json={"model": "meta/llama-2-7b-chat", "input": {"prompt": "x", "top_k": 5}})
    assert answer.status_code == 422
    assert answer.json() == {
        "detail": [
            {
                "type": "extra_forbidden",
                "loc": ["body", "input", "top_k"],
                "msg": "Extra inputs are not permitted",
                "input": 5,
            }
        ]
    }
    assert sandbox.predictions == []
