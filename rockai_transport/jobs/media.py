"""Which media an output holds, for content blocks."""

from __future__ import annotations

import mimetypes
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from rockai_transport.protocol.downloads import file_addresses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rockai_transport.protocol.prediction import Prediction

__all__ = ["Media", "media_files"]


class Media(NamedTuple):
    """One file of an output."""

    kind: str
    """``image``, ``video``, ``audio``, or what else its type begins with."""
    address: str
    media_type: str


def media_files(prediction: Prediction) -> Iterator[Media]:
    """The files of an output that are told by an http address, by the type that its ending shows."""
    if prediction.status != "succeeded":
        return
    for address in file_addresses(prediction.output):
        if address.startswith("data:"):
            continue
        media_type = mimetypes.guess_type(urlsplit(address).path)[0] or "application/octet-stream"
        yield Media(media_type.partition("/")[0], address, media_type)
