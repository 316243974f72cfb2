"""``python -m rockai_transport doctor``: parses arguments, asks before anything costs money, and reports."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rockai_transport.doctor.checks import TABLES, Finding, run_words
from rockai_transport.doctor.report import Lines, wrapped
from rockai_transport.doctor.session import Plan, run_doctor
from rockai_transport.errors import ConfigurationError

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
    """Run the examination, print the report, and return the exit status."""
    lines = Lines()

    def show(finding: Finding) -> None:
        """Print a finding at once, to show progress during long waits."""
        if not finding.skipped:  # the summary reports all skipped checks together
            print(lines.of_terminal(finding), flush=True)

    try:
        output = None if options.output is None else _writable(options.output)
        report = run_doctor(
            input=None if options.input is None else json.loads(options.input),
            **{name: getattr(options, name) for name in _PASSED_ON},
            confirm=lambda plan: confirm(plan, approved=options.yes),
            on_finding=show,
            say=lambda text: _say(f"… {text}"),
        )
    except (ConfigurationError, json.JSONDecodeError) as error:
        text = _TEXTS["no_json"].format(error) if isinstance(error, ValueError) else str(error)
        _say(f"{text}\nHere that is --allow-http." if "allow_http" in text else text)  # the clients' own text
        return 2  # not everything could be checked
    print(f"\n{report.summary()}\n")
    if output:
        output.write_text(f"{report.full_text()}\n", "utf-8", "replace")
    _say(_TEXTS["written" if output else "no_output"].format(output))
    return report.exit_code


def _writable(name: str) -> Path:
    """Return the file's path, if it can be written; the old content stays until the report is ready."""
    path, exists = Path(name), Path(name).exists()
    try:
        path.open("a").close()
        if not exists:
            path.unlink()
    except OSError as error:
        raise ConfigurationError(_TEXTS["unwritable"].format(name, error.strerror)) from None
    return path


def confirm(plan: Plan, *, approved: bool) -> bool:
    """Show the plan and ask, unless the command line already answered."""
    charges, shown = run_words(plan.base_url), json.dumps(dict(plan.input), ensure_ascii=False)
    shown = shown[:_SHOWN_INPUT] + "…" * (len(shown) > _SHOWN_INPUT)
    steps = "\n".join(f"  {runs or 'no'} run{'s' * (runs != 1)}: {title}" for title, runs in plan.steps)
    _say(_TEXTS["plan"].format(plan=plan, input=shown, steps=steps, **charges))
    if approved:
        return True
    if not sys.stdin.isatty():
        _say(_TEXTS["no_terminal"].format(**charges))
        return False
    _say("Send them? [y/N] ", end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _say(text: str, end: str = "\n") -> None:
    print(wrapped(text), file=sys.stderr, end=end, flush=True)
