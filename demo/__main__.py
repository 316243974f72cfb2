"""`make demo`: the main job on the local sandbox, or with LIVE=1 on the real service."""

from __future__ import annotations

import io
import os
import signal
import sys


def stop(*_: object) -> None:
    """End at once with one line. This is what Ctrl-C does while nothing runs at a service."""
    os.write(sys.stdout.fileno(), b"\nStopped. Nothing is running.\n")
    os._exit(130)


def main() -> int:
    """Show the demo; the imports take seconds, and Ctrl-C ends them too."""
    signal.signal(signal.SIGINT, stop)
    if sys.platform != "win32":  # tasks.py holds Ctrl-C back until here, where it ends with a line
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file in GBK or cp1252 has not all of its characters
        sys.stdout.reconfigure(errors="replace")
    print("Loading LangChain, LlamaIndex and the sandbox…", flush=True)
    from demo.show import show

    code = show(stop)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # everything is printed; a signal now would kill Python without a message
    return code


if __name__ == "__main__":
    sys.exit(main())
