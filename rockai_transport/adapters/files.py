"""Detects the files in an output, from the output alone, never from the model's name."""

from __future__ import annotations

import mimetypes
import re
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from pydantic import AnyUrl

from rockai_transport.protocol.downloads import DATA_URI, file_addresses
from rockai_transport.protocol.prediction import Prediction

_KINDS: Final = frozenset({"image", "video", "audio"})
_WEB_ADDRESS: Final = re.compile(r"https?://[^\s/]+/\S+")
_ADDRESS: Final = re.compile(r"(?:https?://[^\s/]|data:[\w.+-]+/[\w.+-]+[;,])\S*", re.IGNORECASE)


class OutputFile(NamedTuple):
    """One file of an output.

    Attributes:
        kind: ``"image"``, ``"video"``, ``"audio"``, or the first part of another media type.
        address: A URL or a data URI, as the model returned it.
        media_type: Its media type, such as ``"image/png"``.
    """

    kind: str
    address: str
    media_type: str


class AddressLines:
    """Puts each address in a completion on its own line; otherwise they would run together."""

    _before = 0
    _only_addresses = True

    def apart(self, pieces: list[str], prediction: Prediction | None) -> list[str]:
        """Take the next pieces, and separate them as long as there are only complete addresses.

        Args:
            pieces: The model's output.
            prediction: Its prediction; if it has ended, its output may be the pieces that came as one.

        Returns:
            The pieces. If all are addresses, each except the first starts a line; else they are unchanged.
        """
        if not self._only_addresses:
            return pieces
        output = prediction.output if prediction is not None and prediction.is_terminal else None
        if isinstance(output, list) and all(isinstance(piece, str) for piece in output):
            pieces = output
        separate: list[str] = []
        for piece in pieces:
            self._only_addresses = self._only_addresses and _WEB_ADDRESS.fullmatch(piece) is not None
            separate.append(f"\n{piece}" if self._only_addresses and self._before else piece)
            self._before += 1
        return separate


def output_files(output: Any) -> list[OutputFile]:
    """Find the images, videos and audio files in an output that consists only of addresses.

    Args:
        output: A prediction's output.

    Returns:
        The files, in order, detected by the suffix of a URL's path or by a data URI's type. Empty if any part
        of the output is not a complete ``http``, ``https`` or ``data`` address. Addresses of other types are
        no files.
    """
    addresses = [output] if isinstance(output, str) else output
    if not isinstance(addresses, list) or not all(map(_is_address, addresses)):
        return []
    return [file for file in map(_file, addresses) if file.kind in _KINDS]


def media_files(result: Any) -> list[OutputFile]:
    """Return the files with a web address in the result of a tool.

    Args:
        result: A prediction; for anything else, there are none.
    """
    if not isinstance(result, Prediction) or result.status != "succeeded":
        return []
    return [_file(one) for one in file_addresses(result.output) if not DATA_URI.match(one)]


def _is_address(item: Any) -> bool:
    if not isinstance(item, str) or not _ADDRESS.fullmatch(item):
        return False
    try:
        AnyUrl(item)
    except ValueError:
        return False
    return True


def _file(address: str) -> OutputFile:
    if DATA_URI.match(address):
        media_type = re.split("[;,]", address[5:], maxsplit=1)[0].lower()
    else:
        guessed, _ = mimetypes.guess_type(urlsplit(address).path, strict=False)
        media_type = guessed or "application/octet-stream"
    return OutputFile(media_type.partition("/")[0], address, media_type)
