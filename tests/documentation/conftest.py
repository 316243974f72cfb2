from collections.abc import Iterator

import pytest

from rockai_sandbox import Sandbox


@pytest.fixture
def rockai_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """As the plug-in's, but a video takes half a second."""
    with Sandbox(video_seconds=0.5) as sandbox:
        for name, value in sandbox.environ().items():
            monkeypatch.setenv(name, value)
        yield sandbox
