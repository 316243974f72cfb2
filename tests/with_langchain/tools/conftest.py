import sys
from pathlib import Path

import pytest

from rockai_sandbox import Sandbox

sys.path.append(str(Path(__file__).parent))  # for scripted, which crash_agent.py imports too

from scripted import MADE, make_toolkit


@pytest.fixture
def sandbox():
    with Sandbox(video_seconds=0.3) as running:
        yield running


@pytest.fixture
def toolkit(sandbox, tmp_path):
    """A toolkit with both ready-made models, that saves files."""
    return make_toolkit(sandbox, save_to=tmp_path / "out")


@pytest.fixture(autouse=True)
def _closed():
    yield
    while MADE:
        MADE.pop().close()
