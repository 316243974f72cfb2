"""``python -m rockai_sandbox``: serve the sandbox alone, until Ctrl-C."""

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, get_args

import rockai_sandbox
from rockai_sandbox.options import HOST, PORT, SECONDS, Wanted
from rockai_sandbox.protocol import Generation, Shape

HINT = """\
A local RockAI is at {base_url}
Its token is {api_token}

In another terminal:
{exports}

Its models follow rules and cost nothing. Ctrl-C ends it.\
"""


def reader(number: Callable[[str], Any], wanted: Wanted) -> Callable[[str], Any]:
    """Make the ``type`` of an option that is a number."""

    def read(text: str) -> Any:
        try:
            value = number(text)
        except ValueError:
            value = text
        if not wanted.fits(value):
            raise argparse.ArgumentTypeError(f"{wanted.what} is expected, not {text!r}")
        return value

    return read


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        "python -m rockai_sandbox", description="A local RockAI to develop against."
    )
    parser.add_argument(
        "--port",
        type=reader(int, PORT),
        default=8100,
        help="the API's port, 0 for any free one (%(default)s)",
    )
    parser.add_argument(
        "--host", choices=(HOST, "localhost"), default=HOST, help="it serves this machine only"
    )
    parser.add_argument("--token", default="rockai-sandbox", help="the API token it accepts (%(default)s)")
    parser.add_argument(
        "--generation", choices=get_args(Generation), default="both", help="which routes there are"
    )
    parser.add_argument("--shape", choices=get_args(Shape), default="flat", help="the shape of predictions")
    parser.add_argument(
        "--cold-start",
        type=reader(float, SECONDS),
        default=0.0,
        metavar="SECONDS",
        help="time spent in `starting`",
    )
    parser.add_argument(
        "--on-disconnect",
        choices=("continue", "stop"),
        default="continue",
        help="what becomes of a run whose client left",
    )
    parser.add_argument(
        "--seconds-per-piece",
        type=reader(float, SECONDS),
        default=0.03,
        metavar="SECONDS",
        help="the pace of text (%(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or a request to terminate; return the exit status."""
    options = parse(arguments)
    ended = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        sandbox = rockai_sandbox.Sandbox(
            options.token,
            generation=options.generation,
            shape=options.shape,
            cold_start=options.cold_start,
            on_disconnect=options.on_disconnect,
            port=options.port,
            seconds_per_piece=options.seconds_per_piece,
        ).start()
    except rockai_sandbox.MissingExtraError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Port {options.port} cannot be used: {error}. Another one: --port 8101", file=sys.stderr)
        return 1
    exports = "\n".join(f"  export {name}={value}" for name, value in sandbox.environ().items())
    print(HINT.format(base_url=sandbox.base_url, api_token=sandbox.api_token, exports=exports), flush=True)
    while not ended.wait(1.0):  # in steps, since Windows delivers no signal during a wait
        pass
    sandbox.stop()
    print("The sandbox has stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
