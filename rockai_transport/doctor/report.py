"""The report: as text for a terminal, as Markdown for an issue, as JSON for machines.

Invariants of this module:

* It only writes what it was given, which has been redacted before.
* Each fact is told once in texts: what an earlier line has told is named by its check, and checks that were
  not made for one and the same reason are one sentence. In JSON each check has all that is known of it.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rockai_transport.config import Route
from rockai_transport.doctor import checks
from rockai_transport.doctor.checks import Finding, SuggestedSetting, Verdict
from rockai_transport.service import Service

_FORMS = checks.TABLES["report"]
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
        reasons = dict.fromkeys(finding.skipped for finding in self.findings)
        left_out = [self._left_out(each) for each in reasons if each not in ("", self.stopped)]
        return " ".join([self.stopped, *left_out]).strip()

    def _left_out(self, reason: str) -> str:
        """The sentence that says what was not made for one reason."""
        names = [finding.check for finding in self.findings if finding.skipped == reason]
        form, listed = "several" if len(names) > 1 else "one", ", ".join(names)
        return checks.reason_words(form, reason.rstrip("."), self.base_url, count=len(names), checks=listed)

    @property
    def suggestions(self) -> list[SuggestedSetting]:
        """Every setting that fixes a difference, once; with its value, where one of them has it."""
        found = [each for finding in self.findings for each in finding.suggestions]
        known = {each.field: each for each in found if each.is_known}
        return list({each.field: known.get(each.field, each) for each in found}.values())

    @property
    def service(self) -> Service:
        """What to assume of the service from now on: as it began, with what is known to fix it."""
        return checks.with_settings(self.assumed, self.suggestions)

    @property
    def client_code(self) -> str:
        """The call that makes a client with those settings; empty where nothing is to be fixed."""
        # Somebody has to fill in the fields of differences that nothing else fixes.
        groups = [f.suggestions for f in self.findings if any(each.is_known for each in f.suggestions)]
        fixed = {each.field for group in groups for each in group}
        changed = [f"{name}={value!r}" for name, value in checks.changes(Service(), self.service).items()]
        changed += [str(each) for each in self.suggestions if not (each.is_known or each.field in fixed)]
        arguments = [str(each) for each in self.suggestions if each.is_known and not each.of_service]
        arguments += [f"service=Service({', '.join(changed)})"] if changed else []
        return f"Client({', '.join(arguments)})" if self.suggestions else ""

    def heading(self) -> str:
        """What was examined, with what."""
        model = f"{self.model} with {', '.join(self.input_keys)}" if self.model else "no model"
        return f"{self.versions}\n{self.base_url}, {model}, route={self.route!r}"

    def summary(self) -> str:
        """The counts, what runs were started, and what to set."""
        return "\n\n".join(map(wrapped, self._sentences("summary")))

    def text(self) -> str:
        """The whole report for a terminal, without the section for an issue."""
        return "\n".join([self.heading(), *map(Lines().of_terminal, self.made), "", self.summary()])

    def markdown(self) -> str:
        """The whole report for an issue, with the raw frames of what differs or nobody has seen yet."""
        shown = [f for f in self.made if f.verdict is Verdict.DIFFERS or f.check in _FORMS["frames"]]
        frames = {each.frame: each.check for each in reversed(shown) if each.frame}
        details = [_details(check, frame) for frame, check in reversed(frames.items())]
        return "\n".join([*self._sentences("markdown"), *map(Lines().of_table, self.made), *details])

    def to_json(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        names = ("versions", "base_url", "model", "route", "exit_code", "obstacle", "headers")
        runs = {"announced": self.announced, "agreed": self.agreed, "started": self.runs}
        rest = {"runs": {**runs, "left": list(self.left)}, "client": self.client_code}
        return {name: getattr(self, name) for name in names} | rest | {"checks": [*map(_json, self.findings)]}

    def _sentences(self, form: str) -> list[str]:
        """The sentences of a form that have something to say, by the names of what they say."""
        differ = [f.check for f in self.made if f.verdict is Verdict.DIFFERS and not f.suggestions]
        facts = {
            "counts": Counter("skipped" if f.skipped else f.verdict.name for f in self.findings),
            "runs": {"report": self, **checks.run_words(self.base_url)},
            "obstacle": self.obstacle,
            "cell": _cell(self.obstacle),
            "code": self.client_code,
            "unset": "…" in self.client_code,
            "unfixed": ", ".join(differ),
            "left": ", ".join(self.left),
            "heading": self.heading().replace("\n", "\n- "),
            "headers": ", ".join(self.headers) or "none",
        }
        return [text.format(**facts) for name, text in _FORMS[form].items() if facts[name]]


class Lines(dict[str, str]):
    """Writes the findings of one examination, in their order. Holds what was told, and by which check."""

    def _cite(self, text: str, check: str) -> str:
        """The text, or where it stands already."""
        first = self.setdefault(text, check)
        return text if first == check else f"as {first}"

    def of_terminal(self, finding: Finding) -> str:
        """One finding: its probe's title if it is new, the assumption, what was seen, what fixes it."""
        check, title = finding.check, finding.title
        heading = ["", title] if self._cite(title, check) == title else []
        assumed, found = self._cite(finding.assumption, check), self._cite(finding.observed, check)
        lines = [*heading, f"  {finding.verdict.value} {check}: {assumed}"]
        lines += [] if found == assumed else [f"      seen: {found}"]
        if finding.verdict is Verdict.DIFFERS:
            fields = " or ".join(s.field if s.is_known else str(s) for s in finding.suggestions)
            lines += [f"      source: {_DOC}, {finding.source}"]
            lines += [f"      setting: {fields}"] if fields else []
        return "\n".join(map(wrapped, lines))

    def of_table(self, finding: Finding) -> str:
        """One finding as a row of a Markdown table."""
        assumed = f"{self._cite(finding.assumption, finding.check)} ({finding.source})"
        cells = map(_cell, (assumed, self._cite(finding.observed, finding.check)))
        settings = ", ".join(_code(each.code) for each in finding.suggestions)
        return f"| {' | '.join((finding.verdict.value, finding.check, *cells, settings))} |"


def wrapped(text: str) -> str:
    """Lines that fit a terminal; addresses, paths, and strings in code stay in one piece, to be copied."""
    return "\n".join(map(_wrapped, text.split("\n")))


def _wrapped(line: str) -> str:
    in_list, is_code = line.startswith("  "), line.startswith("    Client(")
    parted = re.sub("'[^']*'", lambda quoted: quoted[0].replace(" ", "\0"), line) if is_code else line
    wrapper = textwrap.TextWrapper(80, "", " " * 6 if in_list else "", break_on_hyphens=False)
    wrapper.break_long_words = in_list and not is_code
    return wrapper.fill(parted).replace("\0", " ")


def _json(finding: Finding) -> dict[str, Any]:
    row = {name: getattr(finding, name) for name in ("check", "assumption", "frame")}
    row |= {"seen": finding.observed, "verdict": finding.verdict.name.lower()}
    calls = [(each.field, each.code) for each in finding.suggestions]
    settings = [{"of": code.partition("(")[0], "field": name, "code": code} for name, code in calls]
    return {**row, "source": f"{_DOC}, {finding.source}", "settings": settings}


def _details(check: str, frame: str) -> str:
    """A raw frame, to be unfolded."""
    fence = "`" * (3 + frame.count("```"))
    return f"\n<details><summary>{check}</summary>\n\n{fence}text\n{frame}\n{fence}\n\n</details>"


def _cell(text: str) -> str:
    """A text in a cell of a table: one line, no markup, nobody mentioned."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "<\u200b").replace("@", "@\u200b")


def _code(text: str) -> str:
    """Code in a cell of a table."""
    fence = "``" if "`" in text else "`"
    return fence + text.replace("|", "\\|") + fence
