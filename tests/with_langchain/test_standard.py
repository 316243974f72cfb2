"""langchain-tests' own suites, against the sandbox, for four models that each have another chat template."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_rockai import ChatRockAI
from rockai_sandbox import Sandbox

MISTRAL = "mistralai/mistral-7b-instruct-v0.1"
LLAMA_2 = "meta/llama-2-7b-chat"
LLAMA_3 = "meta/meta-llama-3-70b-instruct"
CHATML = "sandbox/chatml"


@pytest.fixture(autouse=True, scope="class")
def _sandbox(request):
    with Sandbox() as sandbox:
        request.cls.sandbox = sandbox
        yield


class OnTheSandbox:
    """What all of them are told: `chat_model_params` is asked for before any fixture could be."""

    sandbox: Sandbox
    model_name: str

    @property
    def chat_model_class(self) -> type[ChatRockAI]:
        return ChatRockAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": self.model_name,
            "base_url": self.sandbox.base_url,
            "api_token": self.sandbox.api_token,
        }


class Unit(OnTheSandbox, ChatModelUnitTests):
    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        # The token is read at the first call, so the environment changes no field; see test_lifecycle.py.
        environ = {"ROCKAI_API_TOKEN": "of the environment"}
        return environ, {"model": self.model_name}, {"api_token": None}

    @pytest.mark.xfail(
        reason="core loads no third-party class by allowed_objects='all' (langchain_core/load/load.py, "
        "langchain-ai/langchain#30343); with allowed_objects=[ChatRockAI] it does, see test_lifecycle.py"
    )
    def test_serdes(self, model, snapshot) -> None:
        super().test_serdes(model, snapshot)


class Integration(OnTheSandbox, ChatModelIntegrationTests):
    @property
    def returns_usage_metadata(self) -> bool:
        return False  # the service is not known to report tokens; one test below bends the sandbox to

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return LLAMA_3 if self.model_name != LLAMA_3 else MISTRAL


class TestMistralUnit(Unit):
    model_name = MISTRAL


class TestLlama2Unit(Unit):
    model_name = LLAMA_2


class TestLlama3Unit(Unit):
    model_name = LLAMA_3


class TestChatMLUnit(Unit):
    model_name = CHATML


class TestMistral(Integration):
    model_name = MISTRAL


class TestLlama2(Integration):
    model_name = LLAMA_2


class TestLlama3(Integration):
    model_name = LLAMA_3


class TestChatML(Integration):
    model_name = CHATML
