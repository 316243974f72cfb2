"""`Client`: RockAI with blocking calls. `rockai_transport.async_client` mirrors it, name for name."""

# Annotations are objects here, not strings: LlamaIndex makes a tool from a method with `inspect.signature`
# alone (llama_index/core/tools/utils.py, `create_schema_from_function`).

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import httpx

from rockai_transport.base_client import BaseClient, OnText, OnUpdate, check_callback
from rockai_transport.io.blocking import Session
from rockai_transport.io.streams import Stream
from rockai_transport.protocol.prediction import Prediction
from rockai_transport.protocol.references import ModelReference
from rockai_transport.protocol.streams import StreamState


class Client(BaseClient[httpx.Client]):
    """RockAI with blocking calls. Threads can share one client; it opens connections when needed.

    Args:
        api_token: The token. Default: the first non-empty of ``ROCKAI_API_TOKEN``, ``ROCKAI_API_KEY`` and
            ``ROCK_API_TOKEN``. It is sent only to the origin of the base URL.
        base_url: The address of the service. Default: ``ROCKAI_BASE_URL``, else
            ``https://api.rockai.online/v1``. Without a scheme, https is used.
        timeout: Seconds for one whole operation, including delays between retries. None: no total for `run`
            and `stream` (the limits in `timeouts` apply), one hour for `predictions.wait`. `math.inf`: none.
        max_retries: Number of retries. They never start a second paid prediction.
        route: ``"auto"``: ``/run`` and ``/run_sse``; if the service has no such route, create and wait, or
            create and stream. ``"run"``: only ``/run`` and ``/run_sse``. ``"predictions"``: always create and
            wait or stream. Then a run has an id, so you can watch a cold model, cancel it, and wait again.
        service: Assumptions about the service.
        default_headers: Headers for every call to the base URL's origin. They cannot replace the token.
        http_client: Your own `httpx.Client`. This client neither closes it nor downloads files with it.
            Deadlines then depend on its own socket timeouts.
        timeouts: The limits besides the total: connect, first byte, idle, poll.
        allow_http: Allow plain http to other machines. Anyone on the network path can then read the token.

    Raises:
        ConfigurationError: A setting is invalid, or there is no token.

    Example:
        >>> with Client(timeout=60, route="predictions") as client:
        ...     prediction = client.run("meta/meta-llama-3-70b-instruct", {"prompt": "Say: good morning"})
        ...     print(prediction.text, prediction.metrics)
        good morning {'predict_time': ...}
    """

    _session_type = Session
    _http_client_type = httpx.Client
    _session: Session

    @cached_property
    def predictions(self) -> "Predictions":
        """The prediction lifecycle: create, get, cancel, wait, stream.

        Example:
            >>> client.predictions.create(model="meta/musicgen", input={"prompt": "rain"}).status
            'starting'
        """
        return Predictions(self._session)  # no reference to this client: it is freed as soon as it is dropped

    def run(
        self,
        model: str,
        input: Mapping[str, Any],
        *,
        on_text: OnText | None = None,
        timeout: float | None = None,
    ) -> Prediction:
        """Run a model and wait until it ends.

        Args:
            model: ``owner/name``, ``owner/name:version``, or a bare version of 64 hex digits.
            input: The model's own input keys. A `pathlib.Path`, bytes or an open binary file becomes a
                data URI, at most 10 MiB each.
            on_text: Called with each piece of text as it arrives; the run then uses the event stream. If it
                raises, the run is left, and `run` raises the same exception.
            timeout: Seconds for the whole run. None: the client's timeout.

        Returns:
            The succeeded prediction. On ``/run`` the service may return no id.

        Raises:
            ConfigurationError: An argument is invalid; nothing was sent.
            PredictionFailedError: The model failed. ``/run`` does not say so: there it is an
                `InternalServerError`, with ``on_text`` a `StreamInterruptedError`.
            PredictionCanceledError: The prediction was canceled elsewhere.
            PredictionTimeoutError: The timeout expired. The prediction continues; the error has its id.
            APITimeoutError: The timeout expired, and no id is known, as on ``/run``.
            RockAIError: Any other failure; `may_have_started` says whether a prediction may be running.

        Example:
            >>> client.run("mistralai/mistral-7b-instruct-v0.1", {"prompt": "Say: hello"}).text
            'hello'
        """
        check_callback(on_text, "on_text", may_await=False)
        run = self._session.operations.run_request(ModelReference.parse(model), input)
        return self._session.do(self._session.operations.run, run, timeout, on_text)

    def stream(self, model: str, input: Mapping[str, Any], *, timeout: float | None = None) -> "Stream":
        """Run a model and iterate over its text, piece by piece, exactly as the model wrote it.

        Args:
            model: As in `run`.
            input: As in `run`.
            timeout: Seconds for the whole stream. None: the client's timeout.

        Returns:
            A stream. Nothing is sent before you ask for the first piece. Leave it early with ``with`` or
            ``close()``: that closes the connection at once, and cancels the prediction if its id is
            known.

        Raises:
            ConfigurationError: An argument is invalid; nothing was sent. Iterating raises other errors.

        Example:
            >>> with client.stream("meta/llama-2-7b-chat", {"prompt": "Say: one two"}) as stream:
            ...     for piece in stream:
            ...         print(repr(piece))
            'one'
            ' two'
        """
        run = self._session.operations.run_request(ModelReference.parse(model), input)
        io, state = self._session.io(), StreamState()
        return Stream(io, state, self._session.operations.stream(io, run, timeout, state))

    def download(
        self,
        prediction: Prediction,
        folder: str | Path,
        *,
        max_bytes: int = 1024**3,
        allow_private: bool = False,
        timeout: float | None = None,
    ) -> list[Path]:
        """Save the files of a prediction's output.

        Args:
            prediction: A succeeded prediction.
            folder: Where to save the files; created if it does not exist. ``~`` is your home.
            max_bytes: The maximum size of each file. Default: 1 GiB.
            allow_private: Also fetch from private, loopback and link-local addresses. By default they are
                refused, unless the base URL itself has such an address.
            timeout: Seconds for all files together. None: the client's timeout.

        Returns:
            The paths of the files, in the order of the output; empty if the output contains no file.

        Raises:
            ConfigurationError: The prediction has not succeeded, the folder is not writable, or another
                argument is invalid.
            InvalidResponseError: An address or a file is not accepted.
            RockAIError: A file could not be fetched.

        Example:
            >>> made = client.run("incomingflyingbrick/flux-1-schnell", {"prompt": "a lighthouse"})
            >>> [path.suffix for path in client.download(made, "out")]
            ['.png']
        """
        download = self._session.operations.download
        return self._session.do(
            download, prediction, folder, timeout, max_bytes=max_bytes, allow_private=allow_private
        )

    def close(self) -> None:
        """Close the connections. You can use the client again; it then opens new ones.

        Example:
            >>> client.close()
        """
        self._session.connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Predictions:
    """The prediction lifecycle of a `Client`: create, get, cancel, wait, stream.

    Made by `Client.predictions`.

    Example:
        >>> started = client.predictions.create(model="meta/musicgen", input={"prompt": "rain on a roof"})
        >>> client.predictions.wait(started).status
        'succeeded'
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(
        self,
        *,
        model: str | None = None,
        version: str | None = None,
        input: Mapping[str, Any],
        stream: bool = False,
        webhook: str | None = None,
        webhook_events_filter: Sequence[str] | None = None,
    ) -> Prediction:
        """Create a prediction, without waiting for it.

        Args:
            model: ``owner/name`` or ``owner/name:version``.
            version: 64 hex digits.
            input: As in `Client.run`.
            stream: Ask for an event stream; its address is then in ``urls``.
            webhook: An https (or http) address that the service calls on events.
            webhook_events_filter: The events to send: ``start``, ``output``, ``logs``, ``completed``.

        Returns:
            The prediction, usually ``starting``.

        Raises:
            ConfigurationError: An argument is invalid; nothing was sent.
            RockAIError: The call failed; `may_have_started` says whether a prediction may be running.

        Example:
            >>> started = client.predictions.create(
            ...     model="meta/llama-2-7b-chat", input={"prompt": "Say: hello"}
            ... )
            >>> started.status
            'starting'
        """
        reference = ModelReference.combine(model, version)
        run = self._session.operations.run_request(
            reference, input, stream=stream, webhook=webhook, webhook_events_filter=webhook_events_filter
        )
        return self._session.do(self._session.operations.create, run)

    def get(self, prediction_id: str) -> Prediction:
        """Get the current state of a prediction.

        Args:
            prediction_id: Its id.

        Returns:
            The prediction.

        Raises:
            ConfigurationError: It cannot be an id; nothing was sent.
            NotFoundError: There is no prediction with this id.
            RockAIError: The call failed.

        Example:
            >>> started = client.predictions.create(model="sandbox/stays-cold", input={})
            >>> client.predictions.get(started.id).status
            'starting'
        """
        return self._session.do(self._session.operations.get, prediction_id)

    def cancel(self, prediction_id: str | Prediction) -> Prediction:
        """Cancel a prediction. A prediction that has ended does not change.

        Args:
            prediction_id: Its id, or the prediction.

        Returns:
            The prediction from the response; its last known state if the response contains none.

        Raises:
            ConfigurationError: There is no id, or it cannot be one; nothing was sent.
            RockAIError: The prediction may not have been canceled.

        Example:
            >>> started = client.predictions.create(model="sandbox/never-ends", input={})
            >>> client.predictions.cancel(started).status
            'canceled'
        """
        return self._session.do(self._session.operations.cancel, prediction_id)

    def wait(
        self,
        prediction_or_id: Prediction | str,
        *,
        timeout: float | None = None,
        on_update: OnUpdate | None = None,
    ) -> Prediction:
        """Wait until a prediction ends. Leaving early never cancels it.

        Args:
            prediction_or_id: The prediction, or its id.
            timeout: Seconds. None: the client's timeout, or one hour if it has none.
            on_update: Called on each change of status and on new log lines, with the progress that
                tqdm-style logs show. If it raises, `wait` raises the same exception.

        Returns:
            The succeeded prediction.

        Raises:
            ConfigurationError: There is no id, or an argument is invalid; nothing was sent.
            PredictionFailedError: The model failed.
            PredictionCanceledError: The prediction was canceled.
            PredictionTimeoutError: The timeout expired. The prediction continues, and you can wait again.
            RockAIError: The prediction could not be fetched.

        Example:
            >>> started = client.predictions.create(
            ...     model="incomingflyingbrick/flux-1-schnell", input={"prompt": "a lighthouse"}
            ... )
            >>> client.predictions.wait(started, timeout=600).output
            ['http...png']
        """
        check_callback(on_update, "on_update", may_await=False)
        return self._session.do(self._session.operations.wait, prediction_or_id, timeout, on_update)

    def stream(self, prediction: Prediction | str) -> "Stream":
        """Iterate over the text of an existing prediction. Leaving early cancels it.

        Args:
            prediction: The prediction, or its id; preferably created with ``stream=True``. If it has no
                event stream, this waits for it and yields its output as one piece.

        Returns:
            A stream, as from `Client.stream`.

        Raises:
            ConfigurationError: There is no id, or it cannot be one. Other errors are raised while iterating.

        Example:
            >>> started = client.predictions.create(
            ...     model="meta/llama-2-7b-chat", input={"prompt": "Say: one two"}, stream=True
            ... )
            >>> list(client.predictions.stream(started))
            ['one', ' two']
        """
        io, state = self._session.io(), StreamState()
        return Stream(io, state, self._session.operations.stream_prediction(io, prediction, state))
