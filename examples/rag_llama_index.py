"""Answering from your own documents: LlamaIndex finds the passages, the model reads them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.embeddings import BaseEmbedding

from llama_index_rockai import RockAI

DOCUMENTS = Path(__file__).parent / "documents"
DIMENSIONS = 512
QUESTIONS = ("When was the kiln fired?", "What is gold lacquer used for?", "How tall is the lighthouse?")


class WordEmbedding(BaseEmbedding):
    """Counts words: enough for a few pages, without a network. Use a real embedding for real documents."""

    def _embed(self, text: str) -> list[float]:
        vector = [0.0] * DIMENSIONS
        for word in re.findall(r"\w{4,}", text.lower()):
            stem = word.rstrip("s")
            vector[int(hashlib.md5(stem.encode(), usedforsecurity=False).hexdigest(), 16) % DIMENSIONS] += 1
        return vector

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._embed(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embed(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._embed(query)


def main() -> None:
    """Index three pages, ask a question about each, and stream an answer in a chat."""
    llm = RockAI(model="meta/meta-llama-3-70b-instruct", max_tokens=200)
    pages = SimpleDirectoryReader(DOCUMENTS).load_data()
    index = VectorStoreIndex.from_documents(pages, embed_model=WordEmbedding())

    engine = index.as_query_engine(llm=llm, similarity_top_k=1)
    for question in QUESTIONS:
        answer = engine.query(question)
        source = answer.source_nodes[0].metadata["file_name"]
        print(f"{question}\n  {answer}  [{source}]")

    chat = index.as_chat_engine(llm=llm, chat_mode=ChatMode.CONTEXT, similarity_top_k=1)
    for token in chat.stream_chat("Who keeps the lighthouse?").response_gen:
        print(token, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
