"""pytest's plugin: the fixture `rockai_sandbox`. Importing it loads neither the server nor the models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rockai_sandbox import Sandbox


@pytest.fixture
def rockai_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A running sandbox; ``ROCKAI_BASE_URL`` and ``ROCKAI_API_TOKEN`` lead to it."""
    from rockai_sandbox import Sandbox  # noqa: PLC0415 - every pytest run would pay for it at the top

    with Sandbox() as sandbox:
        for name, value in sandbox.environ().items():
            monkeypatch.setenv(name, value)
        yield sandbox
