"""The webhook address: which addresses are allowed, the secret in it, and how it is removed again.

Invariants of this module: a secret is sent to the service only. Only its hash is stored, and in what the
service sends back the hash replaces it. We choose the names of the two keys: the service calls the address
unchanged (docs/http-api.md, «webhook»).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from rockai_transport.config import is_loopback
from rockai_transport.errors import ConfigurationError

_RECORD = "rockai_record"
_SECRET = "rockai_secret"  # noqa: S105 - the name of a key
_NAME = _SECRET.encode()
_EQUALS = rb"(?:=|%(?:25)*3[dD]|(?:%(?:25)*5[cC]|\\)+u003[dD])"
_WRITTEN = re.compile(rb"(rockai_secret" + _EQUALS + rb")([A-Za-z0-9_-]{16,})")


class WebhookTarget(NamedTuple):
    """The webhook of one start."""

    address: str
    """The address with the secret; used only in the request."""
    secret_hash: str
    """The hash for the record."""

    @classmethod
    def make(cls, url: str, record: str) -> WebhookTarget:
        """Return an address with a new secret, for the record at this place."""
        secret = secrets.token_urlsafe(32)
        parts = urlsplit(url)
        ours = urlencode({_RECORD: record, _SECRET: secret})
        query = f"{parts.query}&{ours}" if parts.query else ours
        return cls(urlunsplit(parts._replace(query=query)), _hash(secret))


class WebhookCall(NamedTuple):
    """The query of a webhook call: the record's place, and the secret."""

    record: str
    secret: str

    @classmethod
    def read(cls, query: bytes) -> WebhookCall | None:
        """Parse a query; None if one of the two keys is missing or repeated."""
        try:
            given: Mapping[str, list[str]] = parse_qs(query.decode("ascii"))
        except ValueError:
            return None
        match given.get(_RECORD), given.get(_SECRET):
            case [record], [secret]:
                return cls(record, secret)
        return None

    def proves(self, secret_hash: str) -> bool:
        """Return whether the secret is correct, in constant time."""
        return bool(secret_hash) and hmac.compare_digest(_hash(self.secret), secret_hash)


def check_webhook_url(url: object) -> str:
    """Refuse an address that the service could not call, or that others could eavesdrop on.

    Raises:
        ConfigurationError: It is neither https nor loopback http; or it already contains our keys.
    """
    wrong = "webhook_url must be an https:// address (http:// for this machine alone), without spaces or '#'."
    if not isinstance(url, str) or re.search(r"[\s#\x00-\x1f\x7f]", url):
        raise ConfigurationError(wrong)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigurationError(wrong) from None
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
        raise ConfigurationError(wrong)
    if {_RECORD, _SECRET} & set(parse_qs(parts.query, keep_blank_values=True)):
        raise ConfigurationError(f"webhook_url must not hold {_RECORD} or {_SECRET}: they are added.")
    return url


def redacted(body: bytes) -> bytes:
    """Replace each secret in the service's response by its hash: the service returns the address."""
    if _NAME not in body:
        return body
    return _WRITTEN.sub(lambda found: found[1] + _shown(_hash(found[2].decode())).encode(), body)


def echoes(address: object, secret_hash: str) -> bool:
    """Return whether a redacted address was made with this secret."""
    return isinstance(address, str) and bool(secret_hash) and _shown(secret_hash) in address


def _shown(secret_hash: str) -> str:
    return f"(sha256:{secret_hash})"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
