"""``python -m rockai_transport sweep my_app:receiver``: resumes runs whose webhook never arrived."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pkgutil import resolve_name
from typing import Any

from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs.webhooks import STALE, WebhookReceiver


def add_to(commands: Any) -> None:
    """Add the command to a parser's commands."""
    text = "Resume the runs that have waited longer than a limit, and whose prediction has ended."
    parser = commands.add_parser("sweep", help="resume runs whose webhook never arrived", description=text)
    parser.add_argument("receiver", metavar="MODULE:NAME", help="your WebhookReceiver, as in my_app:receiver")
    parser.add_argument(
        "--older-than", type=float, default=STALE, metavar="SECONDS", help="the limit (%(default)g)"
    )
    parser.set_defaults(run=_sweep)


def _sweep(options: argparse.Namespace) -> int:
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as `python -m` itself does
    try:
        receiver = resolve_name(options.receiver)
    except (ImportError, AttributeError, ValueError) as error:
        sys.stderr.write(f"{options.receiver} cannot be loaded: {error}. Give MODULE:NAME.\n")
        return 2
    if not isinstance(receiver, WebhookReceiver):
        sys.stderr.write(f"{options.receiver} is no WebhookReceiver, but {type(receiver).__name__}.\n")
        return 2
    try:
        resumed = asyncio.run(receiver.sweep(older_than=options.older_than))
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for record in resumed:
        sys.stdout.write(f"{record.model} {record.prediction_id}: resumed\n")
    return 0
