"""langchain-tests' own suites, for each of a toolkit's tools."""

from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from langchain_rockai.toolkit import RockAIToolkit
from rockai_sandbox import ECHO, Sandbox
from rockai_transport import ANIMATE_IMAGE, GENERATE_IMAGE, Client

IMAGE = "https://example.com/statue.png"


@pytest.fixture(autouse=True, scope="class")
def _sandbox(request):
    """A sandbox for each suite: `tool_constructor` is asked for before any fixture could be."""
    with Sandbox(video_seconds=0.1) as sandbox, Client(sandbox.api_token, sandbox.base_url) as client:
        request.cls.toolkit = RockAIToolkit(
            [GENERATE_IMAGE, ANIMATE_IMAGE], client=client, allowed_ids=lambda _: True, max_running=9
        )
        request.cls.known_id = client.predictions.create(model=ECHO, input={"prompt": "x"}).id
        yield


class OfTheToolkit:
    """What both suites are told."""

    toolkit: RockAIToolkit
    known_id: str
    tool_name: str
    arguments: Any

    @property
    def tool_constructor(self) -> BaseTool:
        return next(tool for tool in self.toolkit.get_tools() if tool.name == self.tool_name)

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return self.arguments if isinstance(self.arguments, dict) else self.arguments(self.known_id)


def by_id(known_id):
    return {"prediction_id": known_id}


EXAMPLES = {
    "generate_image": {"prompt": "a statue"},
    "animate_image": {"image": IMAGE, "prompt": "it talks", "max_frames": 2},
    "start_prediction": {"model": "generate_image", "input": {"prompt": "a statue"}},
    "get_prediction": by_id,
    "wait_for_prediction": by_id,
    "cancel_prediction": by_id,
    "list_predictions": {},
}

for _name, _arguments in EXAMPLES.items():
    for _suite, _kind in ((ToolsUnitTests, "Unit"), (ToolsIntegrationTests, "Integration")):
        _title = f"Test{_kind}Of{_name.title().replace('_', '')}"
        _members = {
            "tool_name": _name,
            "arguments": staticmethod(_arguments) if callable(_arguments) else _arguments,
        }
        globals()[_title] = type(_title, (OfTheToolkit, _suite), _members)


class TestTheTools:
    """What langchain-tests does not ask."""

    toolkit: RockAIToolkit

    def test_every_tool_is_among_the_examples(self):
        """A tool that is added must be held against the standard tests too."""
        assert {tool.name for tool in self.toolkit.get_tools()} == set(EXAMPLES)

    def test_every_tool_has_an_async_form_of_its_own(self):
        """None falls back to a thread."""
        assert all(type(tool)._arun is not BaseTool._arun for tool in self.toolkit.get_tools())
