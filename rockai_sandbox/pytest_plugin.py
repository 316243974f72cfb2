"""The pytest plugin: the fixture `rockai_sandbox`. Importing it loads neither the server nor the models."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

import rockai_sandbox as package


@pytest.fixture
def rockai_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[package.Sandbox]:
    """A running sandbox; ``ROCKAI_BASE_URL`` and ``ROCKAI_API_TOKEN`` are set to it.

    The logs of failed predictions go to standard error, which pytest shows if the test fails.
    """
    with package.Sandbox() as sandbox:
        for name, value in sandbox.environ().items():
            monkeypatch.setenv(name, value)
        yield sandbox
        sys.stderr.writelines(one.logs for one in sandbox.predictions if one.status == "failed")
