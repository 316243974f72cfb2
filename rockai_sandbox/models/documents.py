"""Answering from documents in the prompt (retrieval), with the sentence closest to the question."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from rockai_sandbox.models.parsed_prompt import ParsedPrompt

QUESTION = re.compile(r"^\s*(?:question|query|问题)\s*[:\uff1a]\s*(.+)", re.IGNORECASE | re.MULTILINE)
DOCUMENTS = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"<(context|documents?|sources?)>(?P<text>.+?)</\1>",
        r"(?:context|上下文)[^\n]*\n-{5,}\n(?P<text>.+?)\n-{5,}",
        (
            r"(?:\b(?:context|documents?|sources?|passages?)\b[^\n:]{0,40}:|(?:背景|资料|上下文|文档|已知信息)[^\n:\uff1a]{0,10}[:\uff1a])"
            r"\s*(?P<text>.+?)(?=\n\s*(?:question|query|answer|问题|回答)\s*[:\uff1a]|\Z)"
        ),
    )
)
"""Where common chains and query engines put documents in their prompts."""

REWRITE = re.compile(
    r"follow[- ]?up (?:input|question|message)\s*[:>]\s*(?P<text>.+?)\s*<?standalone question",
    re.IGNORECASE | re.DOTALL,
)
"""A prompt that asks to rewrite a question so that it needs no context."""

REFINE = re.compile(
    r"query(?: is as follows)?:\s*(?P<query>[^\n]+).*?(?:existing|original) answer:\s*(?P<answer>[^\n]+)",
    re.IGNORECASE | re.DOTALL,
)
"""A prompt that asks to improve an answer with more documents, as in LlamaIndex's refine mode."""

SUMMARY = re.compile(
    r"(?:summari[sz]e|summary|tl;dr|总结|概括|摘要)[^\n:\uff1a]*(?:[:\uff1a]\s*(?P<text>.+))?",
    re.IGNORECASE | re.DOTALL,
)
"""A request for a summary: the sandbox returns the first sentence."""

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a about an and are as at be by can could did do does for from had has have how i in is it its me my of
        on or please tell that the their there this to was were what when where which who whose why will with
        would you your
        """,
    )
)


def rewrite_question(prompt: ParsedPrompt) -> str | None:
    """Rewrite a question so that it needs no context: the sandbox returns it unchanged."""
    found = REWRITE.search(prompt.last)
    return found["text"].strip() if found else None


def summarize(prompt: ParsedPrompt) -> str | None:
    """Return the first sentence of a text to summarize."""
    found = SUMMARY.search(prompt.last)
    return _sentences(found["text"])[0] if found and (found["text"] or "").strip() else None


def answer_from_documents(prompt: ParsedPrompt) -> str | None:
    """Answer with the sentence of the documents that is closest to the question."""
    if refined := REFINE.search(prompt.last):
        known = f"{refined['answer']}\n{_documents(prompt.last) or ''}"
        return nearest_sentence(refined["query"], known) or refined["answer"]
    for place in (prompt.last, prompt.system):
        documents = _documents(place)
        if documents is None:
            continue
        asked = QUESTION.findall(prompt.last)
        if not asked and prompt.last.endswith(documents):  # without a system turn, the question follows
            documents, _, question = documents.rpartition("\n\n")
            asked = [question] if documents else []
            documents = documents or question
        question = asked[-1] if asked else prompt.last.replace(documents, " ")
        if SUMMARY.search(question):
            return _sentences(documents)[0]
        return nearest_sentence(question, documents) or "The documents I was given do not say."
    # If a template has no system turn, the system text is in the first user turn.
    first = next((turn.text for turn in prompt.earlier if turn.role == "user"), "")
    documents = _documents(first)
    return nearest_sentence(prompt.last, documents) if documents else None


def nearest_sentence(question: str, documents: str) -> str | None:
    """Return the sentence that shares most words with the question, preferring rare words, or `None`."""
    asked = words(question)
    sentences = _sentences(documents)
    known = [words(sentence) for sentence in sentences]
    spread = Counter(word for found in known for word in found)
    scores = [sum(math.log(1 + len(known) / spread[word]) for word in found & asked) for found in known]
    if not any(scores):
        return None
    return sentences[scores.index(max(scores))]


def words(text: str) -> set[str]:
    """Return the content words, roughly stemmed; for Chinese, each pair of characters."""
    found = {_stem(word) for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in STOP_WORDS}
    for run in re.findall(r"[\u3400-\u9fff]+", text):
        found |= {run[at : at + 2] for at in range(max(1, len(run) - 1))}
    return found


def _stem(word: str) -> str:
    return re.sub(r"(?<=\w{3})(?:ies|ing|es|ed|s|e|y)$", "", word)


def _documents(text: str) -> str | None:
    found = next((match for pattern in DOCUMENTS if (match := pattern.search(text))), None)
    return found["text"] if found else None


def _sentences(documents: str) -> Sequence[str]:
    lines = (line.strip() for line in documents.splitlines())
    kept = [
        line
        for line in lines
        if line
        and not re.match(r"(?i)(?:file_path|page_label|source|file_name|sub question|instruction)\s*:", line)
    ]
    return [
        part.strip()
        for line in kept
        for part in re.split(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])", line)
        if part.strip()
    ]
