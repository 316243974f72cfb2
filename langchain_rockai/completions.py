"""What a model completed, as LangChain's generations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.outputs import Generation, GenerationChunk

from langchain_rockai.replies import LangChainBuilder
from rockai_transport import Prediction
from rockai_transport.prompting import ReplyPart, TextDelta

__all__ = ["CompletionBuilder"]

_ADDRESS = r"https?://[^\s/]+/\S+"


class CompletionBuilder(LangChainBuilder[GenerationChunk, Generation]):
    """One completion, from its run to its last chunk.

    Reasoning is no part of the text: it is in ``generation_info["reasoning"]``. A model that makes files
    gives their addresses, each on a line of its own.
    """

    _addresses = 0
    _only_addresses = True

    def feed(self, pieces: Iterable[str]) -> Iterator[GenerationChunk]:
        """As of every reply, addresses apart."""
        return super().feed(self._apart(pieces) if self._only_addresses else pieces)

    def take(self, prediction: Prediction) -> None:
        """As of every reply, the output as it would have been streamed."""
        output = prediction.output
        if isinstance(output, list) and all(isinstance(piece, str) for piece in output):
            prediction = replace(prediction, output=self._apart(output))
        super().take(prediction)

    def chunks(self, parts: Sequence[ReplyPart]) -> Iterator[GenerationChunk]:
        """A chunk for each part of the text."""
        return (GenerationChunk(text=part.text) for part in parts if isinstance(part, TextDelta))

    def last_chunk(self) -> GenerationChunk:
        """An empty chunk with the metadata."""
        return GenerationChunk(text="", generation_info=self._info())

    def result(self) -> Generation:
        """The complete completion."""
        return Generation(text=self.reply().text, generation_info=self._info())

    def _apart(self, pieces: Iterable[str]) -> list[str]:
        """Where nothing but whole addresses has come, each on its line; else exactly what the model said."""
        separate: list[str] = []
        for piece in pieces:
            self._only_addresses = self._only_addresses and re.fullmatch(_ADDRESS, piece) is not None
            separate.append(f"\n{piece}" if self._only_addresses and self._addresses else piece)
            self._addresses += 1
        return separate

    def _info(self) -> dict[str, Any]:
        said = self.metadata()
        more = {"usage_metadata": said["usage_metadata"], "reasoning": self.reply().reasoning}
        return {**said["response_metadata"], **{name: value for name, value in more.items() if value}}
