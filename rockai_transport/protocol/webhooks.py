"""The address that the service calls: who may be called, the secret in it, and how it is taken out again.

Invariants of this module: a secret goes to the service and to nobody else. Only its hash is kept, and what
the service sends back has the hash in its place. The names of the two keys are ours: the service calls the
address as it was given (docs/http-api.md, «webhook»).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from rockai_transport.errors import ConfigurationError

__all__ = ["WebhookCall", "WebhookTarget", "check_webhook_url", "echoes", "redacted"]

_RECORD = "rockai_record"
_SECRET = "rockai_secret"  # noqa: S105 - the name of a key
_NAME = _SECRET.encode()
_EQUALS = rb"(?:=|%(?:25)*3[dD]|(?:%(?:25)*5[cC]|\\)+u003[dD])"
_WRITTEN = re.compile(rb"(rockai_secret" + _EQUALS + rb")([A-Za-z0-9_-]{16,})")
_LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1")


class WebhookTarget(NamedTuple):
    """Where the service tells of one start."""

    address: str
    """With the secret: for the request alone."""
    secret_hash: str
    """For the record."""

    @classmethod
    def make(cls, url: str, record: str) -> WebhookTarget:
        """An address with a secret of its own, made for the record at such a place."""
        secret = secrets.token_urlsafe(32)
        parts = urlsplit(url)
        ours = urlencode({_RECORD: record, _SECRET: secret})
        query = f"{parts.query}&{ours}" if parts.query else ours
        return cls(urlunsplit(parts._replace(query=query)), _hash(secret))


class WebhookCall(NamedTuple):
    """What the query of a call says: whose record it is about, and the proof."""

    record: str
    secret: str

    @classmethod
    def read(cls, query: bytes) -> WebhookCall | None:
        """Read a query; None where one of the two is missing, or is there twice."""
        try:
            given: Mapping[str, list[str]] = parse_qs(query.decode("ascii"))
        except ValueError:
            return None
        match given.get(_RECORD), given.get(_SECRET):
            case [record], [secret]:
                return cls(record, secret)
        return None

    def proves(self, secret_hash: str) -> bool:
        """Whether the secret is the one that was given out; takes as long for each that is not."""
        return bool(secret_hash) and hmac.compare_digest(_hash(self.secret), secret_hash)


def check_webhook_url(url: object) -> str:
    """Refuse what the service could not call, or would call where others can listen.

    Raises:
        ConfigurationError: It is no https address, nor http at loopback; or it holds what we add.
    """
    wrong = "webhook_url must be an https:// address (http:// for this machine alone), without spaces or '#'."
    if not isinstance(url, str) or re.search(r"[\s#\x00-\x1f\x7f]", url):
        raise ConfigurationError(wrong)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigurationError(wrong) from None
    is_loopback = _LOOPBACK.fullmatch(host) is not None
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback)):
        raise ConfigurationError(wrong)
    if {_RECORD, _SECRET} & set(parse_qs(parts.query, keep_blank_values=True)):
        raise ConfigurationError(f"webhook_url must not hold {_RECORD} or {_SECRET}: they are added.")
    return url


def redacted(body: bytes) -> bytes:
    """What the service has sent, with the hash in place of each secret: it sends the address back."""
    if _NAME not in body:
        return body
    return _WRITTEN.sub(lambda found: found[1] + _shown(_hash(found[2].decode())).encode(), body)


def echoes(address: object, secret_hash: str) -> bool:
    """Whether a redacted address is the one that was made with this secret."""
    return isinstance(address, str) and bool(secret_hash) and _shown(secret_hash) in address


def _shown(secret_hash: str) -> str:
    return f"(sha256:{secret_hash})"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
