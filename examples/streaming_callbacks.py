"""Streaming with callbacks: receive each piece of text as soon as it arrives, even with `invoke`."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import LLMResult

from langchain_rockai import ChatRockAI


class Ticker(BaseCallbackHandler):
    """Prints tokens as they arrive, then their number."""

    def __init__(self) -> None:
        self.tokens = 0

    def on_llm_new_token(self, token: str | list[Any], **_: Any) -> None:
        """Called once for each piece, which includes its line breaks."""
        self.tokens += bool(token)  # the last chunk may hold metadata only
        print(token, end="", flush=True)

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        """Called when the answer is complete."""
        answer = response.generations[0][0].text
        print(f"\n--- {self.tokens} pieces, {len(answer.splitlines())} lines")


def main() -> None:
    """Stream one answer, then invoke for another; the handler receives the pieces of both."""
    llm = ChatRockAI(model="meta/meta-llama-3-70b-instruct", max_tokens=200)
    for _ in llm.stream("Write a poem about steamed hams.", config={"callbacks": [Ticker()]}):
        pass

    llm = ChatRockAI(model="meta/meta-llama-3-70b-instruct", max_tokens=200, streaming=True)
    llm.invoke("Write a poem about the sea.", config={"callbacks": [Ticker()]})


if __name__ == "__main__":
    main()
