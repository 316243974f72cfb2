import json
import re

import numpy as np
import pytest

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.request.dialects import Dialect, keys_of
from rockai_transport.prompting.request.models import MODELS, resolve_dialect
from rockai_transport.prompting.request.nearest import nearest, unknown_name
from rockai_transport.prompting.request.parameters import accepted_names, map_parameters, rejected_inputs

MISTRAL = "mistralai/mistral-7b-instruct-v0.1"
LLAMA_2 = "meta/llama-2-7b-chat"
LLAMA_3 = "meta/meta-llama-3-70b-instruct"


def mapped(model, **parameters):
    return map_parameters(resolve_dialect(model), parameters, model=model)


@pytest.mark.parametrize(
    ("model", "key"), [(MISTRAL, "max_new_tokens"), (LLAMA_2, "max_new_tokens"), (LLAMA_3, "max_tokens")]
)
def test_common_words_become_the_models_own(model, key):
    """``max_tokens`` is spelled as the model spells it."""
    assert mapped(model, max_tokens=9, temperature=0, top_p=0.5) == {key: 9, "temperature": 0, "top_p": 0.5}


def test_the_models_own_word_is_taken_and_wins():
    """Who writes the model's own key means it, in any order."""
    assert mapped(MISTRAL, max_new_tokens=1, max_tokens=2) == {"max_new_tokens": 1}
    assert mapped(MISTRAL, max_tokens=2, max_new_tokens=1) == {"max_new_tokens": 1}


def test_only_what_was_set_is_sent():
    """None means not set; zero and False are values."""
    assert mapped(MISTRAL, temperature=None, top_k=0, repetition_penalty=None) == {"top_k": 0}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"temperature": 0, "top_p": 1}, '{"temperature": 0, "top_p": 1}'),
        ({"top_p": np.float32(0.5), "max_tokens": np.int64(5)}, '{"top_p": 0.5, "max_new_tokens": 5}'),
        ({"max_tokens": 5.0}, '{"max_new_tokens": 5}'),
    ],
)  # fmt: skip
def test_numbers_are_sent_as_json_numbers(given, sent):
    """As they were written, numpy's too, and a count is whole."""
    assert json.dumps(mapped(LLAMA_2, **given)) == sent


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("temperature", -1),
        ("temperature", "hot"),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", 10**400),
        ("top_p", 1.1),
        ("top_p", True),
        ("max_tokens", 0),
        ("max_tokens", 2.5),
        ("max_tokens", float("inf")),
        ("max_new_tokens", -1),
        ("min_tokens", "few"),
        ("min_new_tokens", 2.5),
        ("top_k", -2),
        ("top_k", True),
    ],
)
@pytest.mark.parametrize("model", [MISTRAL, "some/unknown"])
def test_a_number_that_no_model_can_take_is_refused(model, name, bad):
    """A run would be paid for to learn it."""
    with pytest.raises(ConfigurationError, match=f"{name}="):
        mapped(model, **{name: bad})


@pytest.mark.parametrize(
    ("model", "name", "right"),
    [
        (LLAMA_3, "top_k", "top_p"),
        (LLAMA_3, "max_new_tokens", "max_tokens"),
        (LLAMA_3, "frequence_penalty", "frequency_penalty"),
        (LLAMA_2, "max_length", "max_tokens"),
        (LLAMA_2, "presence_penalty", "repetition_penalty"),
        (MISTRAL, "temprature", "temperature"),
        (MISTRAL, "stop_sequences", "stop"),
        (MISTRAL, "repeat_penalty", "repetition_penalty"),
        ("meta/musicgen", "output_fromat", "output_format"),
    ],
)
def test_a_seen_model_refuses_what_it_does_not_list(model, name, right):
    """The error names the nearest right parameter, all of them, and the way round the check."""
    with pytest.raises(ConfigurationError, match=re.escape(f"did you mean {right!r}?")) as caught:
        mapped(model, **{name: 1})
    assert repr(name) in str(caught.value)
    assert "model_kwargs" in str(caught.value)


def test_zero_and_minus_one_may_mean_off():
    """Which of them does depends on the model; numpy's numbers count too."""
    given = {"top_k": -1, "min_tokens": np.int64(0)}
    assert json.dumps(mapped(MISTRAL, **given)) == '{"top_k": -1, "min_new_tokens": 0}'


@pytest.mark.parametrize("name", ["temperature", "top_k", "seed"])
def test_a_model_without_sampling_refuses_it(name):
    """An image model has no temperature."""
    with pytest.raises(ConfigurationError, match="takes no"):
        mapped("incomingflyingbrick/flux-1-schnell", **{name: 1})


@pytest.mark.parametrize("model", ["meta/llama-2-70b-chat", "who/knows", "qwen/qwen-7b-chat"])
def test_nothing_is_refused_where_keys_are_assumed(model):
    """What a model takes that nobody saw cannot be wrong before the service says so."""
    assert mapped(model, top_k=1, seed=2, anything="x") == {"top_k": 1, "seed": 2, "anything": "x"}


def test_a_refusal_does_not_suggest_what_it_refuses():
    """The keys of a model are known, and the common name of a parameter leads to none of them."""
    dialect = Dialect("mine", keys=keys_of("prompt seed", "its page"))
    with pytest.raises(ConfigurationError, match=r"^a/b takes no 'top_p'\. It takes: seed, stop\. What"):
        map_parameters(dialect, {"top_p": 0.5}, model="a/b")


def test_accepted_names_are_in_both_words():
    """What a model takes is named in the common words and in its own."""
    names = accepted_names(MODELS[MISTRAL])
    assert {"max_tokens", "max_new_tokens", "min_tokens", "stop", "repetition_penalty"} <= set(names)


BODY = {
    "detail": [
        {
            "type": "extra_forbidden",
            "loc": ["body", "input", "max_tokens"],
            "msg": "Extra inputs are not permitted",
        },
        {"type": "float_type", "loc": ["body", "input", "top_p"], "msg": "Input should be a valid number"},
        {
            "type": "string_type",
            "loc": ["body", "input", "prompt", 0],
            "msg": "Input should be a valid string",
        },
    ]
}


def test_a_422_names_the_rejected_keys():
    """Each rejected input is named; one that is no key of the model, with the nearest that is."""
    assert rejected_inputs(BODY, MODELS[MISTRAL]) == (
        (
            "The model rejected the input 'max_tokens': Extra inputs are not permitted. Did you mean "
            "'max_new_tokens'?"
        ),
        "The model rejected the input 'top_p': Input should be a valid number.",
        "The model rejected the input 'prompt': Input should be a valid string.",
    )


@pytest.mark.parametrize(
    "body",
    [
        None,
        "",
        "<html>",
        3,
        {},
        [],
        {"detail": "no"},
        {"detail": [1, {}, {"loc": 3}, {"loc": ["body", "model"]}]},
        {"detail": [{"loc": ["body", "input"]}]},
        {"detail": None},
        "[" * 100_000,
        b"\xff",
    ],
    ids=lambda body: str(body)[:20],
)
def test_any_other_body_names_nothing(body):
    """A body of another shape is no reason to fail."""
    assert rejected_inputs(body, MODELS[MISTRAL]) == ()


def test_the_nearest_name_is_found_or_none():
    """A misspelling finds its name, nonsense finds none, and the message then lists all."""
    names = ["temperature", "timeout", "max_retries"]
    assert nearest("Temprature", names) == "temperature"
    assert nearest("request_timeout", names) == "timeout"
    assert nearest("zzz", names) is None
    assert nearest("n_ctx", names) is None
    assert unknown_name("an argument of X", "max_retry", names) == (
        "'max_retry' is not an argument of X; did you mean 'max_retries'?"
    )
    assert unknown_name("a name", "zzz", names).endswith("there are: max_retries, temperature, timeout.")
