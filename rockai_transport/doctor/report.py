"""The report: as text for a terminal, as Markdown for an issue, as JSON for machines.

Invariants of this module:

* It only writes what it was given, which has been redacted before.
* Each fact is told once in texts: what an earlier line has told is named by its check, and checks that were
  not made for one and the same reason are one sentence. In JSON each check has all that is known of it.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rockai_transport.config import Route
from rockai_transport.doctor.checks import (
    TABLES,
    Finding,
    SuggestedSetting,
    Verdict,
    changes,
    run_words,
    with_settings,
)
from rockai_transport.service import Service

__all__ = ["Report", "TerminalLines", "wrapped"]

_FORMS = TABLES["report"]
_SKIPPED: dict[str, dict[str, str]] = TABLES["skipped"]
_DOC = "docs/http-api.md"


@dataclass
class Report:
    """What an examination has found. Redacted; can be pasted into an issue.

    Attributes:
        versions: Of this package and what it stands on.
        base_url: Where it went.
        model: What was run; empty for an examination without runs.
        input_keys: The keys of its input.
        route: What the clients would be told.
        assumed: The `Service` it began with.
        findings: One for each check, in the order of the table.
        announced: How many runs were planned.
        agreed: How many of them were approved.
        runs: How many were started, as far as is known.
        left: Ids of predictions that may still run.
        headers: The names of all headers that came.
        stopped: Why it ended before its last check; empty where it did not.
    """

    versions: str
    base_url: str
    model: str
    input_keys: tuple[str, ...]
    route: Route
    assumed: Service
    findings: list[Finding] = field(default_factory=list)
    announced: int = 0
    agreed: int = 0
    runs: int = 0
    left: tuple[str, ...] = ()
    headers: list[str] = field(default_factory=list)
    stopped: str = ""

    @property
    def exit_code(self) -> int:
        """0: all as assumed. 1: differences were found. 2: none, but not everything could be checked."""
        differs = any(finding.verdict is Verdict.DIFFERS for finding in self.findings)
        return 1 if differs else 2 if self.obstacle else 0

    @property
    def made(self) -> list[Finding]:
        """The findings of checks that were made; `obstacle` says how many were not, and why."""
        return [finding for finding in self.findings if not finding.skipped]

    @property
    def obstacle(self) -> str:
        """Why it did not get to the end, and what that left out; empty where it did."""
        reasons = Counter(finding.skipped for finding in self.findings if finding.skipped)
        sentences = [self.stopped] if self.stopped else []
        for reason, count in reasons.items():
            checks = ", ".join(finding.check for finding in self.findings if finding.skipped == reason)
            forms = _SKIPPED.get(reason, _SKIPPED["other"])
            values = {"count": count, "checks": checks, "reason": reason.rstrip("."), **self._words}
            if reason != self.stopped:
                sentences.append(forms["one" if count == 1 else "several"].format(**values))
        return " ".join(sentences)

    @property
    def suggestions(self) -> list[SuggestedSetting]:
        """Every setting that fixes a difference, once; with its value, where one of them has it."""
        found = [each for finding in self.findings for each in finding.suggestions]
        known = {each.field: each for each in found if each.is_known}
        return list({each.field: known.get(each.field, each) for each in found}.values())

    @property
    def service(self) -> Service:
        """What to assume of the service from now on: as it began, with what is known to fix it."""
        return with_settings(self.assumed, self.suggestions)

    @property
    def client_code(self) -> str:
        """The call that makes a client with those settings; empty where nothing is to be fixed."""
        # Somebody has to fill in the fields of differences that nothing else fixes.
        groups = [f.suggestions for f in self.findings if any(each.is_known for each in f.suggestions)]
        fixed = {each.field for group in groups for each in group}
        changed = [f"{name}={value!r}" for name, value in changes(Service(), self.service).items()]
        changed += [str(each) for each in self.suggestions if not (each.is_known or each.field in fixed)]
        arguments = [str(each) for each in self.suggestions if each.is_known and not each.of_service]
        arguments += [f"service=Service({', '.join(changed)})"] if changed else []
        return f"Client({', '.join(arguments)})" if self.suggestions else ""

    @property
    def counts(self) -> list[str]:
        """How many checks came out in which way, and how many runs it took."""
        counts = Counter(finding.verdict for finding in self.made)
        counted = [f"{each.value} {counts[each]} {_FORMS['meanings'][each.name]}" for each in Verdict]
        counted += [f"{left_out} not made"] if (left_out := len(self.findings) - len(self.made)) else []
        return [", ".join(counted), _FORMS["runs"].format(report=self, words=self._words)]

    @property
    def _words(self) -> dict[str, str]:
        return run_words(self.base_url)

    @property
    def _unfixed(self) -> str:
        """The checks that show a difference, and have no setting."""
        differ = (each for each in self.findings if each.verdict is Verdict.DIFFERS)
        return ", ".join(each.check for each in differ if not each.suggestions)

    def heading(self) -> str:
        """What was examined, with what."""
        model = f"{self.model} with {', '.join(self.input_keys)}" if self.model else "no model"
        return f"{self.versions}\n{self.base_url}, {model}, route={self.route!r}"

    def summary(self) -> str:
        """The counts, what runs were started, and what to set."""
        code, left = self.client_code, ", ".join(self.left)
        told = ("\n".join(self.counts), self.obstacle, code, "…" in code, self._unfixed, left)
        return "\n\n".join(map(wrapped, _filled("summary", *told)))

    def text(self) -> str:
        """The whole report for a terminal, without the section for an issue."""
        lines = map(TerminalLines(), self.made)
        return "\n".join([self.heading(), *lines, "", self.summary()])

    def markdown(self) -> str:
        """The section for an issue: every line, and the raw frames of what differs or nobody has seen yet."""
        noted = [f"{name}: {'seen' if name in self.headers else 'never'}" for name in _FORMS["noted"]]
        headers = f"{', '.join(noted)}; all names: {', '.join(self.headers)}"
        code, left = self.client_code and _code(self.client_code), ", ".join(self.left)
        filled = _filled("items", headers, _cell(self.obstacle), code, self._unfixed, left)
        items = [*self.heading().split("\n"), *self.counts, *filled]
        told = [f for f in self.made if f.verdict is Verdict.DIFFERS or f.check in _FORMS["frames"]]
        first = {each.frame: each for each in reversed(told)}
        details = [_details(each) for each in told if each.frame and first[each.frame] is each]
        once = _Once()
        rows = "\n".join([*(_row(finding, once) for finding in self.made), *details])
        return str(_FORMS["markdown"].format(items="\n".join(f"- {item}" for item in items), rows=rows))

    def to_json(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        names = ("versions", "base_url", "model", "route", "exit_code", "obstacle", "headers")
        runs = {"announced": self.announced, "agreed": self.agreed, "started": self.runs}
        told = {"runs": {**runs, "left": list(self.left)}, "client": self.client_code}
        return {name: getattr(self, name) for name in names} | told | {"checks": [*map(_json, self.findings)]}


class _Once(dict[str, str]):
    """Texts, each with the check that told it first."""

    def __call__(self, text: str, finding: Finding) -> str:
        """The text, or where it stands already."""
        first = self.setdefault(text, finding.check)
        return text if first == finding.check else f"as {first}"


class TerminalLines:
    """Writes the findings of one examination for a terminal, in their order."""

    def __init__(self) -> None:
        self._once = _Once()
        self._title = ""

    def __call__(self, finding: Finding) -> str:
        """One finding: its probe's title where that is new, the assumption, what was seen, what fixes it."""
        heading = [] if finding.title == self._title else ["", finding.title]
        self._title = finding.title
        assumed = self._once(finding.assumption, finding)
        seen = self._once(finding.observed, finding)
        lines = [f"  {finding.verdict.value} {finding.check}: {assumed}"]
        lines += [] if seen == assumed else [f"      seen: {seen}"]
        if finding.verdict is Verdict.DIFFERS:
            lines.append(f"      source: {_DOC}, {finding.source}")
            fields = " or ".join(s.field if s.is_known else str(s) for s in finding.suggestions)
            lines += [f"      setting: {fields}"] if fields else []
        return "\n".join([*heading, *map(wrapped, lines)])


def wrapped(text: str) -> str:
    """Lines that fit a terminal; code, addresses and paths stay in one piece, to be copied."""
    in_list = text.startswith(" ")
    indent = " " * 6 if in_list else ""
    fill = textwrap.TextWrapper(80, "", indent, break_long_words=in_list, break_on_hyphens=False).fill
    return "\n".join(line if line.startswith("    Client(") else fill(line) for line in text.split("\n"))


def _filled(form: str, *values: Any) -> list[str]:
    """The sentences of a form whose values are not empty."""
    return [text.format(value) for text, value in zip(_FORMS[form], values, strict=True) if value]


def _json(finding: Finding) -> dict[str, Any]:
    names = {"check": "check", "assumption": "assumption", "seen": "observed", "frame": "frame"}
    found = finding.suggestions
    settings = [{"of": s.code.partition("(")[0], "field": s.field, "code": s.code} for s in found]
    told = {"verdict": finding.verdict.name.lower(), "source": f"{_DOC}, {finding.source}"}
    return {key: getattr(finding, name) for key, name in names.items()} | told | {"settings": settings}


def _row(finding: Finding, once: _Once) -> str:
    """One finding as a row of a Markdown table."""
    assumed = f"{once(finding.assumption, finding)} ({finding.source})"
    cells = map(_cell, (assumed, once(finding.observed, finding)))
    settings = ", ".join(_code(each.code) for each in finding.suggestions)
    return f"| {' | '.join((finding.verdict.value, finding.check, *cells, settings))} |"


def _details(finding: Finding) -> str:
    """A raw frame, to be unfolded."""
    frame, fence = finding.frame, "`" * (3 + finding.frame.count("```"))
    return f"\n<details><summary>{finding.check}</summary>\n\n{fence}text\n{frame}\n{fence}\n\n</details>"


def _cell(text: str) -> str:
    """A text in a cell of a table: one line, no markup, nobody mentioned."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "<\u200b").replace("@", "@\u200b")


def _code(text: str) -> str:
    """Code in a cell of a table."""
    fence = "``" if "`" in text else "`"
    return fence + text.replace("|", "\\|") + fence
