"""Try the service's own client, `rockai.Client`, on a sandbox: all its ways of running a model.

Run by check.py in the environment of that client, with two sandboxes: one answers in the flat shape, one in
the older envelope, since its `stream` reads the latter and everything else the former.
"""

from __future__ import annotations

import asyncio
import logging
import sys

import rockai

MODEL, INPUT = "sandbox/echo", {"prompt": "one two three"}


def client_of(base_url: str, token: str) -> rockai.Client:
    """Make a client of a sandbox."""
    client = rockai.Client(token)
    client.predict_url = f"{base_url}/predictions"
    client.get_url = f"{base_url}/predictions/{{}}"
    client.cancel_url = f"{base_url}/predictions/{{}}/cancel"
    return client


async def streamed(client: rockai.Client) -> str:
    """Read `stream_async` up to the end event."""
    heard = []
    async for data in client.stream_async(MODEL, input=INPUT):
        heard.append(data)
        if data == "{}":  # the end event, which it does not know
            break
    return "".join(heard).removesuffix("{}")


def main(flat: str, envelope: str, token: str) -> None:
    """Run, run without blocking, look, and stream in both ways."""
    client = client_of(flat, token)
    ran = client.run(MODEL, input=INPUT)
    assert "".join(ran["output"]) == INPUT["prompt"], ran
    assert client.get(client.create(MODEL, input=INPUT)["id"])["status"] in (
        "starting",
        "processing",
        "succeeded",
    )
    assert asyncio.run(client.run_async(MODEL, input=INPUT))["status"] == "succeeded"
    assert asyncio.run(streamed(client)) == INPUT["prompt"]
    pieces = list(client_of(envelope, token).stream(MODEL, input=INPUT))
    assert "".join(pieces).removesuffix("{}") == INPUT["prompt"], pieces


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    main(*sys.argv[1:])
