"""``python -m rockai_transport doctor``: reads the command line, asks before anything costs, reports."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from rockai_transport.doctor.checks import TABLES, Finding
from rockai_transport.doctor.examination import Plan, run_doctor
from rockai_transport.doctor.report import line
from rockai_transport.errors import ConfigurationError

__all__ = ["COULD_NOT_CHECK", "add_to", "main"]

COULD_NOT_CHECK = 2
_SHOWN_INPUT = 200
_PASSED_ON = ("model", "base_url", "allow_http", "route", "timeout")

_TEXTS: dict[str, str] = TABLES["command"]


def add_to(commands: Any) -> None:
    """Add the command to a parser's commands."""
    how = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser("doctor", **TABLES["parser"], formatter_class=how)
    for name, settings in TABLES["options"].items():
        kind = {"type": type(settings["default"])} if "default" in settings else {}
        parser.add_argument(name, **settings, **kind)
    parser.set_defaults(run=main)


def main(options: argparse.Namespace) -> int:
    """Examine, print, and return the exit status."""
    title = ""

    def show(finding: Finding) -> None:
        """Print a finding as it is made, below what was done for it: a long wait shows how far it is."""
        nonlocal title
        if not finding.skipped:  # the summary says it of all of them
            heading = "" if finding.title == title else f"\n{finding.title}\n"
            print(f"{heading}{line(finding)}", flush=True)
            title = finding.title

    try:
        given = None if options.input is None else json.loads(options.input)
    except ValueError as error:
        _say(_TEXTS["no_json"].format(error))
        return COULD_NOT_CHECK
    try:
        report = run_doctor(
            input=given,
            **{name: getattr(options, name) for name in _PASSED_ON},
            confirm=lambda plan: _confirm(plan, approved=options.yes),
            on_finding=None if options.json else show,
            say=lambda text: _say(f"… {text}"),
        )
    except ConfigurationError as error:  # its words are those of the clients
        _say(f"{error} Here that is --allow-http." if "allow_http" in str(error) else str(error))
        return COULD_NOT_CHECK
    shown = f"\n{report.summary()}\n\n{_TEXTS['section']}\n\n{report.markdown()}"
    print(json.dumps(report.to_json(), ensure_ascii=False, indent=2) if options.json else shown)
    return report.exit_code


def _confirm(plan: Plan, *, approved: bool) -> bool:
    """Show the plan; ask, unless that was answered on the command line."""
    steps = "\n".join(f"  {runs or 'no'} run{'s' * (runs != 1)}: {title}" for title, runs in plan.steps)
    shown = json.dumps(dict(plan.input), ensure_ascii=False)
    shown = shown[:_SHOWN_INPUT] + "…" * (len(shown) > _SHOWN_INPUT)
    _say(_TEXTS["plan"].format(plan=plan, input=shown, steps=steps))
    if approved:
        return True
    if not sys.stdin.isatty():
        _say(_TEXTS["no_terminal"])
        return False
    _say("Send them? [y/N] ", end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _say(text: str, end: str = "\n") -> None:
    print(text, file=sys.stderr, end=end, flush=True)
