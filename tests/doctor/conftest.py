"""Examinations of a sandbox, over real sockets."""

from __future__ import annotations

import pytest

from rockai_sandbox import Protocol, Sandbox
from rockai_transport.doctor import run_doctor

MODEL = "meta/llama-2-7b-chat"


@pytest.fixture
def examine():
    """Examine a running sandbox; its model is run unless the test says otherwise."""

    def examination(sandbox, **options):
        given = {
            "api_token": sandbox.api_token,
            "base_url": sandbox.base_url,
            "model": MODEL,
            "confirm": lambda plan: True,
            "timeout": 20,
        }
        return run_doctor(**{**given, **options})

    return examination


@pytest.fixture
def sandbox():
    with Sandbox(protocol=Protocol(stream_needs_token=True)) as running:
        yield running


@pytest.fixture
def signs():
    """The verdicts of a report by their checks, those alone that are not as assumed."""

    def by_check(report):
        return {
            finding.check: finding.verdict.value
            for finding in report.findings
            if finding.verdict.value != "✓"
        }

    return by_check
