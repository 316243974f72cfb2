"""What a model completed, as LangChain's generations."""

from __future__ import annotations

import re
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

from langchain_core.outputs import Generation, GenerationChunk

from langchain_rockai.replies import run_metadata, usage_metadata
from rockai_transport.prompting.dialogue import Dialogue
from rockai_transport.prompting.reply.reader import TextDelta, gather

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rockai_transport import Prediction
    from rockai_transport.prompting.reply.reader import ReplyPart
    from rockai_transport.prompting.request.build import ModelRequest

__all__ = ["Completion", "joined"]

_ADDRESS = r"https?://[^\s/]+/\S+"


class Completion:
    """One completion, from its request to its last chunk: an `Answer` (see `.runs`).

    Reasoning is no part of the text: it is in ``generation_info["reasoning"]``. A model that makes files
    gives their addresses, each on a line of its own.
    """

    def __init__(self, request: ModelRequest) -> None:
        self._exchange = Dialogue(request)
        self._model = request.model
        self._parts: list[ReplyPart] = []
        self._chunks: list[GenerationChunk] = []
        self._pieces = 0
        self._addresses = 0

    @property
    def request(self) -> ModelRequest | None:
        """What is to be run now; None once the completion is complete."""
        return self._exchange.request

    @property
    def cut(self) -> bool:
        """Whether a stop sequence was reached: the stream can be left."""
        return self._exchange.cut

    def feed(self, piece: str) -> list[GenerationChunk]:
        """Take the next piece of the output, and give the chunks that may be handed on."""
        is_address = re.fullmatch(_ADDRESS, piece) is not None
        # Only where nothing but whole addresses has come: text comes out exactly as the model said it.
        line_break = "\n" if is_address and 0 < self._pieces == self._addresses else ""
        self._pieces += 1
        self._addresses += is_address
        return self._handed_on(self._exchange.feed(line_break + piece))

    def end(self, prediction: Prediction | None) -> list[GenerationChunk]:
        """End the run, and give the chunks that were held, then an empty one with the metadata."""
        chunks = self._handed_on(self._exchange.end(prediction))
        return [*chunks, GenerationChunk(text="", generation_info=self._info(prediction))]

    def take(self, prediction: Prediction) -> None:
        """Take a run that was not streamed."""
        for piece in _pieces(prediction):
            self._chunks += self.feed(piece)
        self._chunks += self.end(prediction)

    def result(self) -> Generation:
        """The complete completion, for those who did not stream it."""
        return joined(self._chunks)

    def _handed_on(self, parts: Sequence[ReplyPart]) -> list[GenerationChunk]:
        self._parts += parts
        return [GenerationChunk(text=part.text) for part in parts if isinstance(part, TextDelta)]

    def _info(self, prediction: Prediction | None) -> dict[str, Any]:
        usage = usage_metadata([prediction])
        reasoning = gather(self._parts).reasoning
        known = {"usage_metadata": dict(usage) if usage else None, "reasoning": reasoning}
        return {
            **run_metadata(self._model, prediction),
            **{key: value for key, value in known.items() if value},
        }


def joined(chunks: Iterable[GenerationChunk]) -> Generation:
    """Put the chunks of a stream together."""
    whole = reduce(add, chunks)
    return Generation(text=whole.text, generation_info=whole.generation_info)


def _pieces(prediction: Prediction) -> list[str]:
    """The output, in the pieces in which it would have been streamed."""
    output = prediction.output
    if isinstance(output, list) and all(isinstance(piece, str) for piece in output):
        return output
    return [prediction.text]
