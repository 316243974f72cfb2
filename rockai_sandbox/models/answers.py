"""What the text models say. They follow rules, always the same ones, and say so.

A *skill* looks at a conversation and answers it or passes. `SKILLS` is their order; a new one is a function
in that tuple. Skills see turns of text and nothing else: no input keys, no other requests.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping

from rockai_sandbox.models.conversation import Conversation
from rockai_sandbox.models.documents import answer_from_documents, rewrite_question
from rockai_sandbox.models.structured import answer_in_json
from rockai_sandbox.models.tools import use_tools, without_instructions

Skill = Callable[[Conversation], str | None]

POEM = """{subject},
a poem by rule and line:

The words arrive one by one,
    each where a rule has set it down;
a line ends here,
and here the next is spun.

No mind is at work, only a list:
{subject}
is all that I was told of this."""

CODE = """```python
def {name}(n):
    values = []
    for i in range(n):
        values.append(i)

    return values


print({name}(3))
```
Written by rule, not by thought: a sandbox knows this one function."""

PLAN = """A plan for {place}, made by rule:

1. Morning: walk to the middle of {place}, and look around.
2. Noon: eat what is sold there.
3. Afternoon: see the museum, if there is one.
4. Evening: watch the sun go down.

I am a sandbox and have never been there."""


def answer(conversation: Conversation, model: str) -> str:
    """Answer a conversation in the name of a model."""
    if conversation.fault:
        return (
            f"This is a rule-based sandbox of {model}. I see no well-formed turn in the prompt:\n"
            f"{conversation.fault}.\n\n"
            "A real model would be just as lost. Please check the chat template."
        )
    called = use_tools(conversation)
    if called is not None:
        return called
    conversation = without_instructions(conversation)
    said = next(found for skill in SKILLS if (found := skill(conversation)) is not None)
    if conversation.is_bare:
        return f"(I see a text without turns, and continue it.)\n\n{said}"
    return said


def repeat(conversation: Conversation) -> str | None:
    """«Say …», «repeat after me: …», «reply with …»: says exactly that."""
    found = re.search(
        r"^(?:please )?(?:say|repeat(?: after me)?|echo|(?:reply|answer|respond) with)"
        r"(?: exactly| only| just)?:?\s+(.+)",
        conversation.last,
        re.IGNORECASE | re.DOTALL | re.MULTILINE,
    )
    return found[1].strip().strip("\"'«»“”") if found else None


def own_instructions(conversation: Conversation) -> str | None:
    """«What are your instructions?»: says the system text."""
    if not re.search(
        r"\b(?:your (?:instructions|system (?:prompt|message))|system prompt)\b",
        conversation.last,
        re.IGNORECASE,
    ):
        return None
    return (
        f"My instructions are:\n{conversation.system}"
        if conversation.system
        else "I was given no instructions."
    )


def history(conversation: Conversation) -> str | None:
    """«What did I say before?»: says the turns it sees."""
    if not re.search(
        r"\b(?:did (?:I|we) (?:just )?(?:say|ask|talk)|earlier messages|so far)\b",
        conversation.last,
        re.IGNORECASE,
    ):
        return None
    if not conversation.earlier:
        return "I see no earlier message."
    return "Before this I see:\n" + "\n".join(f"{turn.role}: {turn.text}" for turn in conversation.earlier)


MEMORY: tuple[tuple[str, str, str], ...] = (
    (
        r"what(?:'s| is) my name|who am i|my name\?",
        r"\bmy name is ([\w'\u2019-]+)|\b(?:i'm|i am) ([A-Z][\w'\u2019-]+)",
        "Your name is {}.",
    ),
    (r"我(?:的名字)?叫什么|我是谁", r"我(?:的名字)?[叫是]\s*([\w]{1,8})", "你叫{}。"),
    (
        r"what(?:'s| is) my favou?rite (?P<thing>\w+)",
        r"\bmy favou?rite {thing} is ([\w'\u2019-]+)",
        "You said that it is {}.",
    ),
    (
        r"where do i live|where am i from",
        r"\bi (?:live in|am from|come from) ([\w'\u2019-]+(?: [A-Z][\w'\u2019-]+)*)",
        "You said {}.",
    ),
)
"""Question, what the user said of it (with the question's own words filled in), answer."""


def remember(conversation: Conversation) -> str | None:
    """Questions about what the user said in this conversation; the latest word counts."""
    for asked, told, said in MEMORY:
        question = re.search(asked, conversation.last, re.IGNORECASE)
        if question is None:
            continue
        texts = [turn.text for turn in conversation.earlier if turn.role == "user"]
        if not conversation.is_bare:  # a text without turns has no «before»
            texts.append(conversation.last[: question.start()])
        pattern = re.compile(
            told.format(**question.groupdict()) if question.groupdict() else told, re.IGNORECASE
        )
        found = [match for line in texts for match in pattern.finditer(line)]
        if not found:
            return "You have not told me."
        return said.format(next(group for group in found[-1].groups() if group))
    return None


OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
WORDS_OF_ARITHMETIC = {
    " plus ": "+",
    " minus ": "-",
    " times ": "*",
    " multiplied by ": "*",
    " divided by ": "/",
}


def calculate(conversation: Conversation) -> str | None:
    """«What is 2 + 3?»."""
    question = conversation.last
    for word, sign in WORDS_OF_ARITHMETIC.items():
        question = question.replace(word, f" {sign} ")
    found = re.search(r"\d[\d.\s]*(?:[-+*/\u00d7\u00f7]\s*\d[\d.\s]*)+", question)
    if not found:
        return None
    expression = found[0].replace("\u00d7", "*").replace("\u00f7", "/").strip(" .")
    try:
        value = _value(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return None
    return f"{expression} = {value:g}"


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError("only + - * / on numbers")


def write_poem(conversation: Conversation) -> str | None:
    """«A poem about …»."""
    if not re.search(r"\bpoem\b|\bhaiku\b|\bverses?\b|诗", conversation.last, re.IGNORECASE):
        return None
    subject = re.search(r"\babout (?:the |an? )?([^.?!,;:\n]+)", conversation.last, re.IGNORECASE)
    return POEM.format(subject=subject[1].strip().capitalize() if subject else "Something")


def write_code(conversation: Conversation) -> str | None:
    """«Write a Python function …»."""
    if not re.search(r"\bpython\b|\bcode\b|\bfunction\b", conversation.last, re.IGNORECASE):
        return None
    name = re.search(r"\b(?:called|named) `?([A-Za-z_]\w*)", conversation.last)
    return CODE.format(name=name[1] if name else "count_up")


def make_plan(conversation: Conversation) -> str | None:
    """«Plan a day in …»."""
    if not re.search(r"\bplan\b|\bitinerary\b|\bsightseeing\b", conversation.last, re.IGNORECASE):
        return None
    place = re.search(r"\b(?:in|to|for|of) ((?:[A-Z][\w'\u2019-]+ ?)+)", conversation.last)
    return _in_role(conversation) + PLAN.format(place=place[1].strip() if place else "the town")


GREETING = r"^\s*(?:hello|hi|hey|good (?:morning|evening|day))\b"


def greet(conversation: Conversation) -> str | None:
    """A greeting is returned."""
    if re.search(r"^\s*(?:你好|您好|嗨)", conversation.last, re.MULTILINE):
        return "你好！\n我是一个按规则回答的沙盒，不是真正的语言模型。"
    if not re.search(GREETING, conversation.last, re.IGNORECASE | re.MULTILINE):
        return None
    return f"{_in_role(conversation)}Hello!\nI am a rule-based sandbox, not a real language model."


def admit(conversation: Conversation) -> str:
    """What is said when no other rule fits."""
    asked = re.sub(r"\s+", " ", conversation.last).strip()
    if not asked:
        return "You said nothing.\nI am a rule-based sandbox, and wait for a question."
    return (
        f"{_in_role(conversation)}You said: {asked[:200]}\n\n"
        "I am a rule-based sandbox and have no rule for that.\n"
        "Ask me for a poem, some code, a plan, a sum, or about a text that you give me."
    )


def _in_role(conversation: Conversation) -> str:
    role = re.match(r"\s*(You are [^.\n]{1,80})", conversation.system)
    told = role is not None and "helpful" not in role[1]  # every default says that much
    return f"(I was told: «{role[1]}».)\n\n" if role and told else ""


SKILLS: tuple[Skill, ...] = (
    answer_in_json,
    rewrite_question,
    answer_from_documents,
    repeat,
    own_instructions,
    history,
    remember,
    calculate,
    write_poem,
    write_code,
    make_plan,
    greet,
    admit,
)
