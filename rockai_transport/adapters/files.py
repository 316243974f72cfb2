"""Which replies are files: told by the output alone, never by the model's name."""

from __future__ import annotations

import mimetypes
import re
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from pydantic import AnyUrl

__all__ = ["OutputFile", "output_files"]

_KINDS: Final = frozenset({"image", "video", "audio"})
_ADDRESS: Final = re.compile(r"(?:https?://[^\s/]|data:[\w.+-]+/[\w.+-]+[;,])\S*", re.IGNORECASE)


class OutputFile(NamedTuple):
    """One file of an output.

    Attributes:
        kind: ``"image"``, ``"video"`` or ``"audio"``.
        address: A URL or a data URI, as the model gave it.
        media_type: Its media type, ``"image/png"``.
    """

    kind: str
    address: str
    media_type: str


def output_files(output: Any) -> list[OutputFile]:
    """Find the images, videos and audio files of an output that is nothing but addresses.

    Args:
        output: A prediction's output.

    Returns:
        The files, in order, told by the ending of a URL's path or a data URI's type. None where anything in
        the output is no whole ``http``, ``https`` or ``data`` address; an address of another kind is no file.
    """
    addresses = [output] if isinstance(output, str) else output
    if not isinstance(addresses, list) or not all(map(_is_address, addresses)):
        return []
    found = ((address, _media_type(address)) for address in addresses)
    files = (OutputFile(media.partition("/")[0], address, media) for address, media in found)
    return [file for file in files if file.kind in _KINDS]


def _is_address(item: Any) -> bool:
    if not isinstance(item, str) or not _ADDRESS.fullmatch(item):
        return False
    try:
        AnyUrl(item)
    except ValueError:
        return False
    return True


def _media_type(address: str) -> str:
    if address[:5].lower() == "data:":
        return re.split("[;,]", address[5:], maxsplit=1)[0].lower()
    return mimetypes.guess_type(urlsplit(address).path, strict=False)[0] or ""
