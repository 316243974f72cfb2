"""The report, as text: for a terminal, and with the raw responses for an issue.

Invariants of this module:

* It only formats its input, which is already redacted.
* Texts state each fact once: a fact from an earlier line is referred to by that line's check, and all checks
  that were skipped for one reason share a sentence. Each finding has everything known about its check.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import dataclass, field

from rockai_transport.config import Route
from rockai_transport.doctor import checks
from rockai_transport.doctor.checks import Finding, SuggestedSetting, Verdict
from rockai_transport.service import Service

_FORMS = checks.TABLES["report"]
_DOC = "docs/http-api.md"


@dataclass
class Report:
    """The result of an examination. It is redacted and can be pasted into an issue.

    Attributes:
        versions: The versions of this package and its dependencies.
        base_url: The base URL.
        model: The model that was run; empty for an examination without runs.
        input_keys: The keys of its input.
        route: The clients' ``route`` setting.
        assumed: The initial `Service`.
        findings: One per check, in the order of the table.
        announced: Number of planned runs.
        agreed: Number of approved runs.
        runs: Number of started runs, as far as is known.
        left: Ids of predictions that may still run.
        headers: The names of all received headers.
        stopped: Why it ended before its last check; empty if it did not.
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
        """0: all is as assumed. 1: there are differences. 2: no differences, but some checks were skipped."""
        differs = any(finding.verdict is Verdict.DIFFERS for finding in self.findings)
        return 1 if differs else 2 if self.obstacle else 0

    @property
    def made(self) -> list[Finding]:
        """The findings of completed checks; `obstacle` says how many were skipped, and why."""
        return [finding for finding in self.findings if not finding.skipped]

    @property
    def obstacle(self) -> str:
        """Why the examination ended early, and what it skipped; empty if it did not."""
        reasons = dict.fromkeys(finding.skipped for finding in self.findings)
        left_out = [self._left_out(each) for each in reasons if each not in ("", self.stopped)]
        return " ".join([self.stopped, *left_out]).strip()

    def _left_out(self, reason: str) -> str:
        """Return the sentence about the checks that were skipped for a reason."""
        names = [finding.check for finding in self.findings if finding.skipped == reason]
        form, listed = "several" if len(names) > 1 else "one", ", ".join(names)
        return checks.reason_words(form, reason.rstrip("."), self.base_url, count=len(names), checks=listed)

    @property
    def suggestions(self) -> list[SuggestedSetting]:
        """Every setting that fixes a difference, once; with its value if it is known."""
        found = [each for finding in self.findings for each in finding.suggestions]
        known = {each.field: each for each in found if each.is_known}
        return list({each.field: known.get(each.field, each) for each in found}.values())

    @property
    def service(self) -> Service:
        """The service to assume from now on: the initial one, with the known fixes."""
        return checks.with_settings(self.assumed, self.suggestions)

    @property
    def client_code(self) -> str:
        """The call that creates a client with these settings; empty if nothing needs fixing."""
        # Differences that nothing else fixes need values from a person.
        groups = [f.suggestions for f in self.findings if any(each.is_known for each in f.suggestions)]
        fixed = {each.field for group in groups for each in group}
        changed = [f"{name}={value!r}" for name, value in checks.changes(Service(), self.service).items()]
        changed += [str(each) for each in self.suggestions if not (each.is_known or each.field in fixed)]
        arguments = [str(each) for each in self.suggestions if each.is_known and not each.of_service]
        arguments += [f"service=Service({', '.join(changed)})"] if changed else []
        return f"Client({', '.join(arguments)})" if self.suggestions else ""

    def heading(self) -> str:
        """What was examined, and with what."""
        model = f"{self.model} with {', '.join(self.input_keys)}" if self.model else "no model"
        return f"{self.versions}\n{self.base_url}, {model}, route={self.route!r}"

    def summary(self) -> str:
        """The counts, the started runs, and the settings to change."""
        return "\n\n".join(map(wrapped, self._sentences()))

    def text(self) -> str:
        """The report for a terminal."""
        return "\n".join([self.heading(), *map(Lines().of_terminal, self.made), "", self.summary()])

    def full_text(self) -> str:
        """The whole report for an issue, with the raw frames of differences and of unknown results."""
        shown = [f for f in self.made if f.verdict is Verdict.DIFFERS or f.check in _FORMS["frames"]]
        frames = {each.frame: each.check for each in reversed(shown) if each.frame}
        details = [f"{check}:\n{frame}" for frame, check in reversed(frames.items())]
        headers = _FORMS["received"].format(", ".join(self.headers) or "none")
        return "\n\n".join([self.text(), wrapped(headers), *details])

    def _sentences(self) -> list[str]:
        """Return the sentences of the summary that are not empty."""
        differ = [f.check for f in self.made if f.verdict is Verdict.DIFFERS and not f.suggestions]
        facts = {
            "counts": Counter("skipped" if f.skipped else f.verdict.name for f in self.findings),
            "runs": {"report": self, **checks.run_words(self.base_url)},
            "obstacle": self.obstacle,
            "code": self.client_code,
            "unset": "…" in self.client_code,
            "unfixed": ", ".join(differ),
            "left": ", ".join(self.left),
        }
        return [text.format(**facts) for name, text in _FORMS["summary"].items() if facts[name]]


class Lines(dict[str, str]):
    """Formats the findings of one examination, in order. It remembers what it printed, for which check."""

    def _cite(self, text: str, check: str) -> str:
        """Return the text, or a reference to where it was already printed."""
        first = self.setdefault(text, check)
        return text if first == check else f"as {first}"

    def of_terminal(self, finding: Finding) -> str:
        """Format a finding: its probe's title if it is new, the assumption, the result, and the fix."""
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


def wrapped(text: str) -> str:
    """Wrap lines for a terminal; addresses, paths and code stay whole, so you can copy them."""
    return "\n".join(map(_wrapped, text.split("\n")))


def _wrapped(line: str) -> str:
    if line.startswith("    Client("):
        return line
    in_list = line.startswith("  ")
    indent = " " * 6 if in_list else ""
    return textwrap.fill(line, 80, subsequent_indent=indent, break_on_hyphens=False, break_long_words=in_list)
