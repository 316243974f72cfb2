"""What `warm.PYTHON` starts: it stands for a program that runs in a fork of a warm interpreter."""

import contextlib
import os
import signal
import socket
import sys

SIGNALS = {signal.SIGINT, signal.SIGTERM}


def pass_on(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended
        os.kill(pid, number)


def main(address: str, *command: str) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    environ = (f"{name}={value}" for name, value in os.environ.items())
    request = "\0".join((os.getcwd(), str(len(command)), *command, *environ))  # noqa: PTH109 - quick to start
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(address)
        socket.send_fds(connection, [request.encode()], [0, 1, 2])
        pid = int(connection.recv(64))
        for number in SIGNALS:
            signal.signal(number, lambda number, _: pass_on(pid, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return int(connection.recv(64))


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    if code < 0:
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
