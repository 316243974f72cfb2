"""What a report must not hold."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from rockai_sandbox import Sandbox
from rockai_transport.doctor.redaction import Redactor

TOKEN = 'sk/Yt7+verysecret"token=9'  # noqa: S105


@pytest.mark.parametrize(
    "spelt",
    [
        TOKEN,
        TOKEN.upper(),
        TOKEN[:14],
        TOKEN[-14:],
        quote(TOKEN, safe=""),
        json.dumps(TOKEN)[1:-1],
        base64.b64encode(TOKEN.encode()).decode(),
    ],
)
def test_the_token_in_any_spelling(spelt):
    """Plain, in part, escaped or encoded: nothing of it is left."""
    assert Redactor(TOKEN).text(f"invalid token: {spelt}!") == "invalid token: [token]!"


def test_a_short_token():
    """It is hidden as a word, and words that merely hold it stay."""
    assert Redactor("key").text("the key of a keyboard") == "the [token] of a keyboard"


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("write to ada@example.com", "write to [e-mail]"),
        ("no file /home/ada/x.py: gone", "no file [path]: gone"),
        (r"no file C:\Users\ada\x.py", "no file [path]"),
        ("seen from 198.51.100.7", "seen from [address]"),
        ("at 127.0.0.1 and 192.0.2.1", "at 127.0.0.1 and 192.0.2.1"),
        ("https://cdn/a.png?X-Amz-Signature=abc&w=1", "https://cdn/a.png?X-Amz-Signature=[hidden]&w=1"),
    ],
)
def test_persons_and_places(told, shown):
    """Mail addresses, paths, addresses and signatures are hidden; the service's own address stays."""
    assert Redactor("a-long-token", keep=["192.0.2.1"]).text(told) == shown


def test_a_service_that_echoes(examine):
    """Wherever the service repeats the token, nothing that leaves the doctor holds it."""
    token = "r8_VerySecretTokenOfSomebody"  # noqa: S105
    with Sandbox(token) as sandbox:
        seen, said = [], []
        for text in (f'{{"detail":"id not found, {token}"}}', f'{{"detail":"{"x" * 580}{token}"}}'):
            sandbox.answer_next(404, text, headers={"x-request-id": token}, method="GET", times=2)

        @sandbox.model("owner/echo")
        def echo(input):
            yield f"{'y' * 300}{token}\n{token[:20]}"
            raise RuntimeError(f"{token} in {Path.home()}/model.py")

        report = examine(sandbox, model="owner/echo", on_finding=seen.append, say=said.append)
    leaving = [
        report.text(),
        report.markdown(),
        json.dumps(report.to_json()),
        repr(report),
        repr(seen),
        *said,
    ]
    for text in leaving:
        assert token[:14] not in text
    assert "[token]" in report.markdown()
