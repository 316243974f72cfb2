"""The text models read their own chat template strictly: a client's mistake shows in the answer."""

import pytest

from rockai_sandbox.models.parsed_prompt import ParsedTurn
from rockai_sandbox.models.templates import CHATML, LLAMA_2, LLAMA_3, MISTRAL
from rockai_sandbox.models.text import CHATML_MODEL, LLAMA_2_7B, LLAMA_3_70B, MISTRAL_7B


def header(role, text):
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>"


def chatml(role, text):
    return f"<|im_start|>{role}\n{text}<|im_end|>\n"


# Rendered by hand after each family's published chat template.
LLAMA_2_TEXT = (
    "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nMy name is Ada. [/INST] Hello Ada. </s>"
    "<s>[INST] What is my name? [/INST]"
)
MISTRAL_TEXT = "<s>[INST] My name is Ada. [/INST]Hello Ada.</s> [INST] What is my name? [/INST]"
LLAMA_3_TEXT = (
    "<|begin_of_text|>"
    + header("system", "Be brief.")
    + header("user", "My name is Ada.")
    + header("assistant", "Hello Ada.")
    + header("user", "What is my name?")
    + "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
CHATML_TEXT = (
    chatml("system", "Be brief.")
    + chatml("user", "My name is Ada.")
    + chatml("assistant", "Hello Ada.")
    + chatml("user", "What is my name?")
    + "<|im_start|>assistant\n"
)
TURNS = (
    ParsedTurn("system", "Be brief."),
    ParsedTurn("user", "My name is Ada."),
    ParsedTurn("assistant", "Hello Ada."),
    ParsedTurn("user", "What is my name?"),
)
TEXTS = {"llama-2": LLAMA_2_TEXT, "mistral": MISTRAL_TEXT, "llama-3": LLAMA_3_TEXT, "chatml": CHATML_TEXT}
TEMPLATES = {"llama-2": LLAMA_2, "mistral": MISTRAL, "llama-3": LLAMA_3, "chatml": CHATML}
BARE = {"prompt_template": "{prompt}"}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_conversation_in_the_model_s_own_template_is_read_turn_by_turn(name):
    """Roles and texts come out; Mistral has no system turn."""
    turns = TURNS[1:] if name == "mistral" else TURNS
    conversation = TEMPLATES[name].read(TEXTS[name])
    assert (conversation.turns, conversation.fault) == (turns, "")


@pytest.mark.parametrize("name", ["llama-2", "mistral", "llama-3"])
def test_the_leading_bos_may_be_left_to_the_tokenizer(name):
    """Which adds it; a second one is a fault."""
    text = TEXTS[name]
    bos = "<|begin_of_text|>" if name == "llama-3" else "<s>"
    assert TEMPLATES[name].read(text.removeprefix(bos)) == TEMPLATES[name].read(text)
    assert TEMPLATES[name].read(bos + text).fault


@pytest.mark.parametrize("spoken", TEXTS)
@pytest.mark.parametrize("understood", TEMPLATES)
def test_a_conversation_in_another_template_is_lost(spoken, understood):
    """No pair of different templates lets the history through."""
    conversation = TEMPLATES[understood].read(TEXTS[spoken])
    assert bool(conversation.fault) == (spoken != understood)
    assert conversation.turns == () or spoken == understood


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (LLAMA_2, LLAMA_2_TEXT.replace("</s><s>", "</s>")),
        (LLAMA_2, LLAMA_2_TEXT.replace(" </s>", "")),
        (LLAMA_2, LLAMA_2_TEXT.replace("<</SYS>>\n\n", "<</SYS>>")),
        (LLAMA_2, LLAMA_2_TEXT.replace("<<SYS>>\n", "<<SYS>>")),
        (LLAMA_2, LLAMA_2_TEXT.replace(" What is", " <<SYS>>\nx\n<</SYS>>\n\nWhat is")),
        (LLAMA_2, LLAMA_2_TEXT.removesuffix(" [/INST]")),
        (LLAMA_2, f"<s>[INST] {LLAMA_2_TEXT} [/INST]"),
        (LLAMA_2, "words before " + LLAMA_2_TEXT),
        (MISTRAL, MISTRAL_TEXT.replace("</s> ", "</s><s>")),
        (MISTRAL, f"[INST] {MISTRAL_TEXT} [/INST]"),
        (LLAMA_3, LLAMA_3_TEXT.replace("<|eot_id|>", "", 1)),
        (LLAMA_3, LLAMA_3_TEXT.replace("<|end_header_id|>\n\n", "<|end_header_id|>\n")),
        (LLAMA_3, LLAMA_3_TEXT.replace(">user<", ">human<")),
        (LLAMA_3, LLAMA_3_TEXT.removesuffix("<|start_header_id|>assistant<|end_header_id|>\n\n")),
        (LLAMA_3, header("user", LLAMA_3_TEXT) + "<|start_header_id|>assistant<|end_header_id|>\n\n"),
        (CHATML, CHATML_TEXT.replace("<|im_end|>\n", "<|im_end|>")),
        (CHATML, CHATML_TEXT.removesuffix("<|im_start|>assistant\n")),
    ],
)
def test_one_token_out_of_place_is_a_fault(template, text):
    """Nothing is repaired: missing, doubled and misplaced tokens are all seen."""
    conversation = template.read(text)
    assert conversation.fault
    assert conversation.turns == ()


def test_a_single_foreign_token_is_only_text():
    """People write about tokens; only a whole foreign turn is a muddle."""
    assert not MISTRAL.read("[INST] What does <|im_end|> mean? [/INST]").fault
    assert not LLAMA_3.read(LLAMA_3_TEXT.replace("my name", "[INST]")).fault


def test_text_without_any_token_is_one_text():
    """It is continued, and the answer says what it was taken for."""
    conversation = MISTRAL.read("user: My name is Ada.\nuser: What is my name?")
    assert conversation.is_bare
    answer = MISTRAL_7B.reply({"prompt": "My name is Ada. What is my name?", **BARE})
    assert answer.startswith("(I see a text without turns")
    assert "Ada" not in answer


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (MISTRAL_7B, {"prompt": MISTRAL_TEXT, **BARE}),
        (LLAMA_3_70B, {"prompt": LLAMA_3_TEXT, **BARE}),
        (CHATML_MODEL, {"prompt": CHATML_TEXT, **BARE}),
        (
            LLAMA_2_7B,
            {
                "prompt": "My name is Ada. [/INST] Hello Ada. </s><s>[INST] What is my name?",
                "system_prompt": "Be brief.",
            },
        ),
        (
            LLAMA_2_7B,
            {
                "prompt": "My name is Ada. [/INST] Hello Ada. </s><s>[INST] What is my name?",
                "system_prompt": "",
            },
        ),
    ],
)
def test_a_well_formed_conversation_is_remembered(model, given):
    """What the user said in an earlier turn is known in a later one."""
    assert model.reply(given) == "Your name is Ada."


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (MISTRAL_7B, {"prompt": MISTRAL_TEXT}),
        (MISTRAL_7B, {"prompt": CHATML_TEXT, **BARE}),
        (LLAMA_2_7B, {"prompt": LLAMA_2_TEXT}),
        (LLAMA_3_70B, {"prompt": LLAMA_3_TEXT}),
        (LLAMA_3_70B, {"prompt": LLAMA_2_TEXT, **BARE}),
    ],
)
def test_a_doubled_or_wrong_template_is_told_instead_of_answered(model, given):
    """The history is visibly lost."""
    answer = model.reply(given)
    assert "I see no well-formed turn" in answer
    assert "Ada" not in answer


def test_each_server_applies_its_own_template():
    """The model sees the prompt inside it, and llama-2 a default system text where none is given."""
    assert MISTRAL_7B.seen_text({"prompt": "Hi"}) == "<s>[INST] Hi [/INST]"
    assert MISTRAL_7B.seen_text({"prompt": "Hi", **BARE}) == "Hi"
    assert LLAMA_2_7B.seen_text({"prompt": "Hi", "system_prompt": "S"}) == (
        "[INST] <<SYS>>\nS\n<</SYS>>\n\nHi [/INST]"
    )
    assert "You are a helpful" in LLAMA_2_7B.seen_text({"prompt": "Hi"})
    assert LLAMA_3_70B.seen_text({"prompt": "Hi"}).endswith(
        header("user", "Hi") + "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_placeholders_inside_a_prompt_are_text():
    """They are filled in once, from the template's side only."""
    assert MISTRAL_7B.seen_text({"prompt": "{prompt}", "prompt_template": "<{prompt}>"}) == "<{prompt}>"
    assert "{system_prompt} [/INST]" in LLAMA_2_7B.seen_text(
        {"prompt": "{system_prompt}", "system_prompt": "S"}
    )
