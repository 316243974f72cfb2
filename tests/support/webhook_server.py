"""A `WebhookReceiver` on a real socket, so that the sandbox can call it."""

from contextlib import contextmanager

from rockai_sandbox.hosting import Hosting, listen


@contextmanager
def served(apps):
    """Serve an ASGI app that is added to the list later; yield its address."""

    async def app(scope, receive, send):
        await apps[-1](scope, receive, send)

    async def nothing():
        return None

    listener = listen(0)
    host, port = listener.getsockname()
    hosting = Hosting(((app, listener),), nothing)
    hosting.start()
    try:
        yield f"http://{host}:{port}/rockai"
    finally:
        hosting.stop()
