"""The report: as text for a terminal, as Markdown for an issue, as JSON for machines.

Laws of this module:

* It only writes what it was given, which has been redacted before.
* Checks that were not made for one and the same reason are one sentence in texts. In JSON each is there.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rockai_transport.doctor.findings import Finding, Mend, Verdict, bent
from rockai_transport.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rockai_transport.config import Route

__all__ = ["Report", "line"]

_WIDTH = 110
_INDENT = " " * 6
_DOC = "docs/http-api.md"
_NOTED = ("x-request-id", "retry-after")
_DEFAULT = Service()
_FULL_FRAMES = frozenset(
    {"run-sse-newlines", "stream-newlines", "shape", "get", "run", "cancel", "wrong-key"}
)
"""Checks whose raw frames are shown even where they are as assumed: nobody has seen them live yet."""


@dataclass(frozen=True)
class Report:
    """What an examination has found. Redacted; can be pasted into an issue.

    Attributes:
        versions: of this package and what it stands on.
        base_url: where it went.
        model: what was run; empty for an examination without runs.
        input_keys: the keys of its input.
        route: what the clients would be told.
        believed: the `Service` it began with.
        findings: one for each check, in the order of the table.
        announced: how many runs were asked for.
        agreed: how many of them were agreed to.
        runs: how many were started, as far as is known.
        left: ids of predictions that may still run.
        headers: the names of all headers that came.
        obstacle: why it did not get to the end, and how many checks that left out; empty where it did.
    """

    versions: str
    base_url: str
    model: str
    input_keys: tuple[str, ...]
    route: Route
    believed: Service
    findings: tuple[Finding, ...]
    announced: int = 0
    agreed: int = 0
    runs: int = 0
    left: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    obstacle: str = ""

    @property
    def exit_code(self) -> int:
        """0: all as assumed. 1: differences were found. 2: none, but not everything could be checked."""
        if any(finding.verdict is Verdict.DIFFERS for finding in self.findings):
            return 1
        return 2 if self.obstacle else 0

    @property
    def made(self) -> tuple[Finding, ...]:
        """The findings of checks that were made; `obstacle` says how many were not, and why."""
        return tuple(finding for finding in self.findings if finding.unmade is None)

    @property
    def mends(self) -> tuple[Mend, ...]:
        """Every setting that would mend a difference, once."""
        found: dict[str, Mend] = {}
        for mend in (mend for finding in self.findings for mend in finding.mends):
            if mend.field not in found or not found[mend.field].is_known:
                found[mend.field] = mend
        return tuple(found.values())

    @property
    def service(self) -> Service:
        """What to believe of the service from now on: as it began, with what is known to mend it."""
        return bent(self.believed, self.mends)

    @property
    def client_code(self) -> str:
        """The call that makes a client with those settings; empty where nothing is to be mended."""
        mended = self.service
        changed = [
            (field.name, repr(getattr(mended, field.name)))
            for field in dataclasses.fields(Service)
            if getattr(mended, field.name) != getattr(_DEFAULT, field.name)
        ]
        changed += [(field, "…") for field in self._left_open()]
        arguments = [
            f"{mend.field}={mend.value!r}" for mend in self.mends if not mend.of_service and mend.is_known
        ]
        if changed:
            arguments.append(f"service=Service({', '.join(f'{name}={value}' for name, value in changed)})")
        return f"Client({', '.join(arguments)})" if self.mends else ""

    def summary(self) -> str:
        """The counts, what runs were started, and what to set."""
        lines = [f"{self._counts()}. {self._runs()}"]
        if self.obstacle:
            lines += ["", *_wrapped(f"Not everything was checked. {self.obstacle}")]
        if self.client_code:
            lines += ["", "Settings that would mend it:", "", f"    {self.client_code}"]
        if "…" in self.client_code:
            lines += ["", "Where it says …, the service's own pages or somebody at RockAI must tell."]
        if self.left:
            lines += ["", f"These could not be canceled, and may still run: {', '.join(self.left)}."]
        return "\n".join(lines)

    def text(self) -> str:
        """The whole report for a terminal, without the section for an issue."""
        parts = [self.heading(), ""]
        title = ""
        for finding in self.made:
            if finding.title != title:
                title = finding.title
                parts.append(title)
            parts.append(line(finding))
        return "\n".join([*parts, "", self.summary()])

    def heading(self) -> str:
        """What was examined, with what."""
        model = f"{self.model} with {', '.join(self.input_keys)}" if self.model else "no model"
        return f"{self.versions}\n{self.base_url}, {model}, route={self.route!r}"

    def markdown(self) -> str:
        """The section for an issue: every line, and the raw frames of what differs or nobody has seen yet."""
        return "\n".join(self._markdown())

    def to_json(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        return {
            "versions": self.versions,
            "base_url": self.base_url,
            "model": self.model,
            "route": self.route,
            "exit_code": self.exit_code,
            "obstacle": self.obstacle,
            "runs": {
                "announced": self.announced,
                "agreed": self.agreed,
                "started": self.runs,
                "left": list(self.left),
            },
            "client": self.client_code,
            "headers": list(self.headers),
            "checks": [_finding_json(finding) for finding in self.findings],
        }

    def _left_open(self) -> list[str]:
        """The fields that somebody has to fill in: those of differences that nothing else mends."""
        fields = [mend.field for mend in self.mends if mend.of_service and not mend.is_known]
        alternatives = {
            mend.field
            for finding in self.findings
            if any(other.is_known for other in finding.mends)
            for mend in finding.mends
        }
        return [field for field in fields if field not in alternatives]

    def _counts(self) -> str:
        counts = Counter(finding.verdict for finding in self.made)
        words = {
            Verdict.AS_ASSUMED: "as assumed",
            Verdict.DIFFERS: "different",
            Verdict.UNKNOWN: "could not be told",
        }
        told = [f"{verdict.value} {counts[verdict]} {words[verdict]}" for verdict in Verdict]
        left_out = len(self.findings) - len(self.made)
        return ", ".join([*told, *([f"{left_out} not made"] if left_out else [])])

    def _runs(self) -> str:
        return f"Runs: {self.announced} announced, {self.agreed} agreed to, {self.runs} made."

    def _markdown(self) -> Iterator[str]:
        yield "### `python -m rockai_transport doctor`"
        yield ""
        yield from (f"- {part}" for part in (*self.heading().split("\n"), self._counts(), self._runs()))
        noted = ", ".join(f"{name}: {'seen' if name in self.headers else 'never'}" for name in _NOTED)
        yield f"- headers: {noted}; all names: {', '.join(self.headers)}"
        if self.obstacle:
            yield f"- stopped: {_cell(self.obstacle)}"
        if self.client_code:
            yield f"- mended by {_code(self.client_code)}"
        yield ""
        yield f"| | check | assumed ({_DOC}) | seen | setting |"
        yield "| --- | --- | --- | --- | --- |"
        for finding in self.made:
            mends = ", ".join(_code(str(mend)) for mend in finding.mends)
            assumed = f"{finding.assumption} ({finding.source})"
            cells = (finding.verdict.value, finding.check, _cell(assumed), _cell(finding.seen), mends)
            yield f"| {' | '.join(cells)} |"
        yield from self._frames()

    def _frames(self) -> Iterator[str]:
        shown: set[str] = set()
        for finding in self.findings:
            wanted = finding.verdict is Verdict.DIFFERS or finding.check in _FULL_FRAMES
            if not wanted or not finding.frame or finding.frame in shown:
                continue
            shown.add(finding.frame)
            fence = "`" * (3 + finding.frame.count("```"))
            yield from ("", f"<details><summary>{finding.check}</summary>", "")
            yield from (f"{fence}text", finding.frame, fence, "", "</details>")


def line(finding: Finding) -> str:
    """One finding for a terminal: the assumption, what was seen, and what would mend it."""
    lines = [f"  {finding.verdict.value} {finding.check}: {finding.assumption}"]
    lines += _wrapped(f"seen: {finding.seen}" if finding.verdict is not Verdict.UNKNOWN else finding.seen)
    if finding.verdict is Verdict.DIFFERS:
        lines += [f"{_INDENT}assumed: {_DOC}, {finding.source}"]
        told = (
            " ".join(map(str, finding.mends))
            or "no setting needs to or can mend this: please paste the report"
        )
        lines += [f"{_INDENT}mend: {told}"]
    return "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT, break_on_hyphens=False
    )


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "verdict": finding.verdict.name.lower(),
        "assumption": finding.assumption,
        "source": f"{_DOC}, {finding.source}",
        "seen": finding.seen,
        "settings": [
            {"of": "Service" if mend.of_service else "Client", "field": mend.field, "code": str(mend)}
            for mend in finding.mends
        ],
        "frame": finding.frame,
    }


def _cell(text: str) -> str:
    """A text in a cell of a table: one line, no markup, nobody mentioned."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "<\u200b").replace("@", "@\u200b")


def _code(text: str) -> str:
    """Code in a cell of a table."""
    fence = "``" if "`" in text else "`"
    return fence + text.replace("|", "\\|") + fence
