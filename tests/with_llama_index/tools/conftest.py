import sys
from pathlib import Path

import pytest

from rockai_sandbox import Sandbox

sys.path.append(str(Path(__file__).parent))  # for scripted_llm

from scripted_llm import MADE


@pytest.fixture
def sandbox():
    with Sandbox(video_seconds=0.3) as running:
        yield running


@pytest.fixture(autouse=True)
def _closed():
    yield
    while MADE:
        MADE.pop().close()
