"""What the text models say: by rule, always the same, honest about it, with line breaks."""

import pytest

from rockai_sandbox.models.text import LLAMA_2_7B, TEXT_MODELS
from rockai_sandbox.tokens import split_tokens

DOCUMENTS = (
    "The lighthouse of Hook was lit in 1210. It is the oldest one still at work.\n"
    "The keeper's cat is called Pangur. Tea is served at four."
)


def reply(prompt, **given):
    return LLAMA_2_7B.reply({"prompt": prompt, **given})


@pytest.mark.parametrize("model", TEXT_MODELS, ids=lambda model: model.name)
def test_an_answer_is_the_same_each_time_and_its_pieces_are_the_whole(sandbox, api, model):
    """Pieces joined are the answer; there are line breaks among them."""
    body = {"model": f"{model.name}:{model.version}", "input": {"prompt": "Write a poem about rain."}}
    first, second = api.post("/run", json=body).json(), api.post("/run", json=body).json()
    assert first == second
    assert "".join(first) == model.reply(body["input"])
    assert "\n" in first
    assert "\n\n" in first


@pytest.mark.parametrize("model", TEXT_MODELS, ids=lambda model: model.name)
def test_the_limit_on_tokens_holds(api, model):
    """Each piece counts as one."""
    given = {"prompt": "Write a poem about rain.", model.max_tokens_key: 5}
    assert len(api.post("/run", json={"model": model.name, "input": given}).json()) == 5
    given[model.max_tokens_key] = 0
    assert api.post("/run", json={"model": model.name, "input": given}).status_code == 422


@pytest.mark.parametrize(
    "text",
    ["", " ", "a  b", "def f(x):\n    return x\n\n\nf(1)\n", "你好，世界 🙂\r\n\u2028 x\t\ty", "a_b's 3.14"],
)
def test_pieces_joined_are_the_text(text):
    """Whatever the text is made of."""
    assert "".join(split_tokens(text)) == text


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Hello!", "Hello!\nI am a rule-based sandbox, not a real language model."),
        ("你好", "你好！\n我是一个按规则回答的沙盒，不是真正的语言模型。"),
        ("What is 2 + 3 * 4?", "2 + 3 * 4 = 14"),
        ("What is 6 times 7?", "6 * 7 = 42"),
        ("Say exactly: one\ntwo", "one\ntwo"),
        ("My name is Ada. What is my name?", "Your name is Ada."),
        ("What is my name?", "You have not told me."),
        ("What did I say before?", "I see no earlier message."),
        ("My favourite color is teal. What's my favourite color?", "You said that it is teal."),
    ],
)
def test_simple_requests(prompt, expected):
    """Greetings, sums, repetition, memory."""
    assert reply(prompt) == expected


def test_code_is_indented():
    """So that a lost line break or space would show."""
    code = reply("Write a Python function called walk.").split("```")[1].removeprefix("python\n")
    compile(code, "answer", "exec")
    assert "\n    for i in range(n):\n        values.append(i)\n\n    return values\n\n\nprint" in code


def test_no_rule_is_admitted():
    """It never pretends to know."""
    assert "I am a rule-based sandbox and have no rule for that." in reply("Why is the sky blue?")


def test_the_system_text_is_heard():
    """It can be asked for, and a role that it gives is named in answers."""
    assert (
        reply("What is your system prompt?", system_prompt="Be\nbrief.") == "My instructions are:\nBe\nbrief."
    )
    assert reply("Hello", system_prompt="You are a pirate.").startswith(
        "(I was told: «You are a pirate».)\n\nHello!"
    )


@pytest.mark.parametrize(
    "prompt",
    [
        "Context:\n{documents}\n\nQuestion: {question}\nAnswer:",
        "Use these pieces of retrieved context.\nQuestion: {question}\nContext: {documents}\nAnswer:",
        (
            "Context information is below.\n---------------------\n{documents}\n---------------------\n"
            "Given the context information and not prior knowledge, answer the query.\n"
            "Query: {question}\nAnswer: "
        ),
        "<context>\n{documents}\n</context>\n\n{question}",
        "Answer from these documents: {documents}\n\nQuestion: {question}",
    ],
)
@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("When was the lighthouse lit?", "The lighthouse of Hook was lit in 1210."),
        ("What is the name of the cat?", "The keeper's cat is called Pangur."),
        ("Who won the cup?", "The documents I was given do not say."),
    ],
)
def test_documents_are_answered_from_with_the_nearest_sentence(prompt, question, sentence):
    """In the prompts of the usual chains and query engines."""
    assert reply(prompt.format(documents=DOCUMENTS, question=question)) == sentence


def test_documents_in_the_system_text_count_too():
    """As chat engines send them."""
    system = f"Answer from the context below.\nContext:\n{DOCUMENTS}"
    assert reply("When is tea served?", system_prompt=system) == "Tea is served at four."


def test_chinese_documents():
    """Pairs of characters are compared where no spaces part the words."""
    prompt = "资料：灯塔建于1210年。猫的名字是潘古。\n\n问题：猫叫什么名字？"
    assert reply(prompt) == "猫的名字是潘古。"


def test_a_follow_up_question_stands_alone_as_it_is():
    """Asked to rewrite a question, it leaves it unchanged."""
    prompt = "Rephrase the follow up question.\nFollow Up Input: And when?\nStandalone question:"
    assert reply(prompt) == "And when?"
