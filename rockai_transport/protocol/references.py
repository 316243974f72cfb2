"""References to models and predictions, checked before anything is sent."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import quote

from rockai_transport.errors import ConfigurationError, RockAIError

_VERSION = r"[0-9a-fA-F]{64}"
_TAG = r"[^\s/:?#%@\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+"
_NAME = f"{_TAG}/{_TAG}"
_FORBIDDEN_IN_PATH = r"[/?#%\\\s\x00-\x1f\x7f-\x9f\ud800-\udfff]"


class ModelReference(NamedTuple):
    """A model reference as the user wrote it, and its parts."""

    written: str
    name: str | None
    """``owner/name``; None for a bare version."""
    version: str | None
    """None: the newest (public API page, August 2024)."""

    @classmethod
    def parse(cls, reference: Any) -> ModelReference:
        """Parse ``owner/name``, ``owner/name:version`` or 64 hex digits.

        Raises:
            ConfigurationError: It has none of these forms.
        """
        if isinstance(reference, str):
            if re.fullmatch(_VERSION, reference):
                return cls(reference, None, reference)
            name, colon, version = reference.partition(":")
            if re.fullmatch(_NAME, name) and (not colon or re.fullmatch(_TAG, version)):
                return cls(reference, name, version or None)
        raise ConfigurationError(
            f"{reference!r:.200} is not a model reference. Write 'owner/name', 'owner/name:version', or the "
            "64 hex digits of a version; each model's page on rockai.online shows its own."
        )

    @classmethod
    def combine(cls, model: Any, version: Any) -> ModelReference:
        """Parse the ``model`` and ``version`` of ``predictions.create``; either may be None.

        Raises:
            ConfigurationError: Neither is given, one is invalid, or they contradict each other.
        """
        if version is None:
            if model is None:
                raise ConfigurationError("predictions.create needs model='owner/name' or version='<64 hex>'.")
            return cls.parse(model)
        if not isinstance(version, str) or not re.fullmatch(_VERSION, version):
            raise ConfigurationError(f"version={version!r:.200} is not the 64 hex digits of a version.")
        if model is None:
            return cls.parse(version)
        parsed = cls.parse(model)
        if parsed.version not in (None, version):
            raise ConfigurationError(f"model={model!r} and version={version!r} name two different versions.")
        return cls(parsed.written, parsed.name, version)

    def body(self) -> dict[str, str]:
        """Return the keys for ``/predictions``: the name and the version, if known."""
        name = {} if self.name is None else {"model": self.name}
        return name if self.version is None else {**name, "version": self.version}


def path_segment(prediction_id: Any, refusal: type[RockAIError] = ConfigurationError) -> str:
    """Check and encode an id for a path: models invent ids, and a path can be traversed.

    Raises:
        RockAIError: The ``refusal``: it is empty, ``.``, ``..``, or has a character with a meaning in URLs.
    """
    if (
        isinstance(prediction_id, str)
        and prediction_id not in ("", ".", "..")
        and not re.search(_FORBIDDEN_IN_PATH, prediction_id)
    ):
        return quote(prediction_id, safe="")
    raise refusal(
        f"{prediction_id!r:.200} is not a prediction id: that is a text without spaces and / ? # % \\. "
        "Use the `id` of a Prediction, exactly as it is."
    )
