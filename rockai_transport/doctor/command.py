"""``python -m rockai_transport doctor``: reads the command line, asks before anything costs, reports."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any, get_args

from rockai_transport.config import Route
from rockai_transport.doctor.examination import DEFAULT_INPUT, Plan, run_doctor
from rockai_transport.doctor.report import Report, line
from rockai_transport.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rockai_transport.doctor.findings import Finding

__all__ = ["COULD_NOT_CHECK", "add_to", "main"]

COULD_NOT_CHECK = 2
_SHOWN_INPUT = 200

_DESCRIPTION = """\
Checks at the service, with your token, what the authors of this package could only assume of it
(docs/http-api.md), and prints a report without your token that can be pasted into an issue."""

_EPILOG = """\
Exit status: 0 all as assumed, 1 differences were found, 2 not everything could be checked.
The token is read from ROCKAI_API_TOKEN. Without --model only what starts no run is checked.
The report shows the start of what the service answers, your input included: use one that you may show."""


def add_to(commands: Any) -> None:
    """Add the command to a parser's commands."""
    parser = commands.add_parser(
        "doctor",
        help="check the service against what this package assumes",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", metavar="owner/name", help="a cheap model to run, best one that answers in text"
    )
    parser.add_argument("--input", metavar="JSON", help=f"its input (default: {json.dumps(DEFAULT_INPUT)})")
    parser.add_argument("--yes", action="store_true", help="agree to the paid runs without being asked")
    parser.add_argument("--base-url", metavar="URL", help="where the service is, else ROCKAI_BASE_URL")
    parser.add_argument(
        "--allow-http", action="store_true", help="send the token over plain http to another host too"
    )
    parser.add_argument("--route", choices=get_args(Route), default="auto", help="what clients will be told")
    parser.add_argument(
        "--timeout", type=float, default=1800.0, metavar="SECONDS", help="for one run (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON, for machines")
    parser.set_defaults(run=main)


def main(options: argparse.Namespace) -> int:
    """Examine, print, and return the exit status."""
    show = _Printer(quiet=options.json)
    try:
        report = run_doctor(
            model=options.model,
            input=_input(options.input),
            base_url=options.base_url,
            route=options.route,
            confirm=_confirm(agreed=options.yes),
            on_finding=show.finding,
            say=lambda text: _tell(f"… {text}"),
            timeout=options.timeout,
            allow_http=options.allow_http,
        )
    except ConfigurationError as error:
        # Its words are those of the clients.
        here = " Here that is --allow-http." if "allow_http" in str(error) else ""
        _tell(f"{error}{here}")
        return COULD_NOT_CHECK
    if options.json:
        print(json.dumps(report.to_json(), ensure_ascii=False, indent=2))  # noqa: T201 - it is a command
    else:
        show.end(report)
    return report.exit_code


class _Printer:
    """Prints each finding as it is made, so that a long wait shows how far it is."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._title = ""

    def finding(self, finding: Finding) -> None:
        """Print a finding, below what was done for it."""
        if self._quiet or finding.unmade is not None:  # the summary says it of all of them
            return
        if finding.title != self._title:
            self._title = finding.title
            print(f"\n{finding.title}")  # noqa: T201 - it is a command, here and below
        print(line(finding), flush=True)  # noqa: T201

    def end(self, report: Report) -> None:
        """Print the summary, and the section for an issue."""
        print(f"\n{report.summary()}")  # noqa: T201
        print("\n──── for an issue: copy from here to the end ────\n")  # noqa: T201
        print(report.markdown())  # noqa: T201


def _input(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigurationError(
            f'--input is not JSON: {error}. Example: --input \'{{"prompt": "Hello"}}\''
        ) from None


def _confirm(*, agreed: bool) -> Callable[[Plan], bool]:
    """Show the plan; ask, unless that was answered on the command line."""

    def confirm(plan: Plan) -> bool:
        _tell(_words(plan))
        if agreed:
            return True
        if not sys.stdin.isatty():
            _tell("There is no terminal to ask at: give --yes to agree to these runs.")
            return False
        sys.stderr.write("Send them? [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return confirm


def _words(plan: Plan) -> str:
    """What the user is asked to pay for."""
    steps = "\n".join(f"  {runs or 'no'} run{'s' * (runs != 1)}: {title}" for title, runs in plan.steps)
    shown = json.dumps(dict(plan.input), ensure_ascii=False)
    shown = shown if len(shown) <= _SHOWN_INPUT else f"{shown[:_SHOWN_INPUT]}…"
    return (
        f"\nThe rest runs a model, which RockAI charges for: {plan.runs} runs of {plan.model} at most,\n"
        f"at {plan.base_url}, each with {shown}:\n{steps}\n"
        "None is sent twice; what is left running is canceled."
    )


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - it is a command
