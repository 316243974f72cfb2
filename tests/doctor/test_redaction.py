"""What a report must not hold."""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from rockai_sandbox import Event, Protocol, Sandbox
from rockai_transport import ConfigurationError
from rockai_transport.doctor import CHECKS, PROBES
from rockai_transport.doctor.recording import Redactor

TOKEN = 'sk/Yt7+verysecret"token=9'  # noqa: S105


@pytest.mark.parametrize(
    "spelt",
    [
        TOKEN,
        TOKEN.upper(),
        TOKEN[:8],
        TOKEN[:14].upper(),
        TOKEN[-8:],
        TOKEN[-14:],
        quote(TOKEN, safe=""),
        json.dumps(TOKEN)[1:-1],
        base64.b64encode(TOKEN.encode()).decode(),
        base64.b64encode(TOKEN.encode()).decode()[:20],
        quote(TOKEN, safe="")[-12:],
    ],
)
def test_the_token_in_any_spelling(spelt):
    """Plain, in part, escaped or encoded: nothing of it is left."""
    assert Redactor(TOKEN).text(f"invalid token: {spelt}!") == "invalid token: [token]!"


def test_a_short_token():
    """It is hidden as a word, and words that merely hold it stay."""
    assert Redactor("key").text("the key of a keyboard") == "the [token] of a keyboard"


@pytest.mark.parametrize(
    "spelt", ["rockai-sandbox", "RockAI-Sandbox", "rockai-sandboxes", "cm9ja2FpLXNhbmRib3g="]
)
def test_a_token_of_words(spelt):
    """In what came from outside it is hidden too, in any spelling."""
    assert Redactor("rockai-sandbox").text(spelt).removesuffix("es") == "[token]"


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ("rockai-sandbox", "rockai-integrations: a rule-based sandbox, i-sandbox, rockai-sandbo"),
        ("live-token-x7Kd93qP", "a live-token, or live-token-service"),
        (TOKEN, f"{TOKEN[:7]} {TOKEN[-7:]}"),
    ],
)
def test_parts_that_stay(token, told):
    """Parts of the token that are made of words, or shorter than eight characters, are not hidden."""
    assert Redactor(token).text(told) == told


def test_a_part_goes_as_far_as_the_token_does():
    """What begins as words do and goes on as the token does is hidden; what follows stays."""
    told = Redactor("live-token-x7Kd93qP").text("live-token-x7K… is no live-token")
    assert told == "[token]… is no live-token"


def test_the_word_token():
    """A text that is redacted twice is as after the first time; a query's key of that name is known still."""
    redactor = Redactor("token")
    assert redactor.text(redactor.text("invalid token")) == "invalid [token]"
    assert redactor.text("https://cdn/a.png?token=abc") == "https://cdn/a.png?[token]=[hidden]"


def test_sentences_of_ours():
    """From what may hold our own words a secret is taken all the same, and words are not."""
    assert Redactor(TOKEN).leaving(f"so a wrong name: {TOKEN[:12]}") == "so a wrong name: [token]"
    for words in ("wrong", "rockai-sandbox"):
        assert Redactor(words).leaving(f"so a {words} name") == f"so a {words} name"


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("write to ada@example.com", "write to [e-mail]"),
        ("ada@example.com,bob.b@example.com", "[e-mail],[e-mail]"),
        ("ada@example.com+bob@example.com.", "[e-mail]."),
        ("no file /home/ada/x.py: gone", "no file [path]: gone"),
        (r"no file C:\Users\ada\x.py", "no file [path]"),
        ("seen from 198.51.100.7", "seen from [address]"),
        ("at 127.0.0.1 and 192.0.2.1", "at 127.0.0.1 and 192.0.2.1"),
        ("https://cdn/a.png?X-Amz-Signature=abc&w=1", "https://cdn/a.png?X-Amz-Signature=[hidden]&w=1"),
        ("https://cdn/a.png?token=abc", "https://cdn/a.png?token=[hidden]"),
    ],
)
def test_persons_and_places(told, shown):
    """Mail addresses, paths, addresses and signatures are hidden; the service's own address stays."""
    assert Redactor("a-long-token", shown_hosts=["192.0.2.1"]).text(told) == shown


@pytest.mark.parametrize("word", ["x", "a.b", "1.2.", "a@b", "/home/ada/", "?key", "C:\\\\Users\\\\"])
def test_a_long_text(word):
    """What ten times as long a text takes is in proportion: an output may be megabytes in one word."""
    redactor = Redactor("a-long-token")

    def seconds(length):
        text, began = word * (length // len(word)), time.process_time()
        redactor.text(text)
        return time.process_time() - began

    assert min(seconds(40_000) for _ in range(2)) < 40 * max(seconds(4_000) for _ in range(3))


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
        report.full_text(),
        repr(report),
        repr(seen),
        *said,
    ]
    for text in leaving:
        assert token[:14] not in text
    assert "[token]" in report.full_text()


OURS = (
    *("announced", "assumed", "carries", "characters", "checks", "headers", "httpx", "wrong"),
    *("rockai-integrations", "run-sse-type"),
)
"""What the doctor says, and no answer of the sandbox does."""


def comparable(report):
    """A report without what differs between any two: ids, times, and whether a run was under way already."""
    told = [report.heading(), report.summary()]
    for finding in report.findings:
        observed = finding.observed if finding.check not in ("cancel", "statuses") else ""
        told += [finding.title, finding.check, finding.assumption, finding.source, observed]
    return re.sub(r"[0-9a-f]{24}|\d+", "#", "\n".join(told))


@pytest.mark.parametrize("model", ["owner/words", None])
def test_words_of_ours_are_not_touched(examine, model):
    """A report reads the same whichever of our own words the token is."""
    seen = set()
    for token in ("unlike-any", *OURS):
        with Sandbox(token) as sandbox:

            @sandbox.model("owner/words")
            def words(input):
                return "a\nb"

            seen.add(comparable(examine(sandbox, model=model)))
    assert len(seen) == 1


@pytest.mark.parametrize("token", ["wrong", "token", "rockai-sandbox"])
def test_a_token_of_words_that_is_refused(examine, sandbox, token):
    """Titles and names of checks stay, so no check is there twice; the sentence that teaches stays too."""
    report = examine(sandbox, api_token=token)
    assert [finding.check for finding in report.findings] == [check.id for check in CHECKS]
    assert {finding.title for finding in report.findings} == {probe.title for probe in PROBES}
    assert token == sandbox.api_token or report.obstacle.startswith("The token is not accepted.")


def words_for(token):
    """A service whose own words are the token: its events, its statuses, its fields, its paths."""

    def prediction_json(prediction):
        status = {"processing": token, "succeeded": f"{token} done"}.get(
            prediction["status"], prediction["status"]
        )
        return {**prediction, "status": status, token: 1}

    return {
        "events": Protocol(output_event=token, done=Event(f"{token}-end", token)),
        "marker": Protocol(output_event=None, done=Event(None, f"<{token}-end>")),
        "fields": Protocol(prediction_json=prediction_json, metrics=lambda *_: {token: 1}),
        "key": Protocol(prediction_json=lambda prediction: {token: prediction}),
        "paths": Protocol(get_path=f"/jobs/{token}/{{id}}", stream_path=f"/{token}/{{id}}"),
        "output": Protocol(run_json=lambda prediction: {token: prediction["output"]}),
    }


@pytest.mark.parametrize("token", ["very-quiet-words", "r8_VerySecretTokenOfSomebody"])
@pytest.mark.parametrize("case", words_for(""))
def test_a_service_that_speaks_the_token(examine, token, case):
    """Also where it is a name that a setting needs, or made of words: nothing that leaves holds it."""
    said, plans = [], []
    with Sandbox(token, protocol=words_for(token)[case]) as sandbox:

        @sandbox.model(f"owner/{token}")
        def failing(input):
            yield f"{token}\n"
            yield f"{token}\n"
            if case == "events":
                raise RuntimeError(token)

        report = examine(
            sandbox,
            model=f"owner/{token}",
            input={"prompt": token, token: 1},
            confirm=lambda plan: plans.append(plan) or True,
            say=said.append,
        )
    assert report.runs
    assert "[token]" in report.full_text()
    leaving = [
        report.text(),
        report.full_text(),
        repr(report),
        *said,
        repr(plans),
    ]
    for text in leaving:
        assert token.lower() not in text.lower()


def test_a_token_in_place_of_a_model(examine, sandbox):
    """The error that quotes what was given does not quote it."""
    with pytest.raises(ConfigurationError, match=r"\[token\]"):
        examine(sandbox, api_token="r8_VerySecretTokenOfSomebody", model="r8_VerySecretTokenOfSomebody")  # noqa: S106
