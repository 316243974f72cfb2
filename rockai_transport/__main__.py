"""``python -m rockai_transport``: the command line."""

import argparse
import io
import sys
from collections.abc import Sequence

from rockai_transport import mcp_server
from rockai_transport.doctor import command
from rockai_transport.jobs import sweep_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 130 if Ctrl-C ended it."""
    parser = argparse.ArgumentParser("python -m rockai_transport", description="RockAI from a shell.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")
    command.add_to(commands)
    sweep_command.add_to(commands)
    mcp_server.add_to(commands)
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file in GBK or cp1252 has no ✓
        sys.stdout.reconfigure(errors="replace")
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
