"""`Client`: RockAI with blocking calls. `rockai_transport.async_client` mirrors it, name for name."""

# Annotations are objects here, not texts: LlamaIndex makes a tool of a method by `inspect.signature` alone
# (llama_index/core/tools/utils.py, `create_schema_from_function`).

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from rockai_transport.base_client import DEFAULT_SERVICE, DEFAULT_TIMEOUTS, BaseClient, check_callback
from rockai_transport.callbacks import OnText, OnUpdate
from rockai_transport.config import Route, Timeouts
from rockai_transport.io.blocking import Session
from rockai_transport.io.streams import Stream
from rockai_transport.protocol.prediction import Prediction
from rockai_transport.protocol.references import ModelReference
from rockai_transport.protocol.streams import StreamState
from rockai_transport.service import Service

__all__ = ["Client", "Predictions", "Stream"]


class Client(BaseClient):
    """RockAI with blocking calls. One client serves many threads; connections are made when needed.

    Args:
        api_token: The token; else the first non-empty of ``ROCKAI_API_TOKEN``, ``ROCKAI_API_KEY`` and
            ``ROCK_API_TOKEN``. It goes to the base URL's own origin only.
        base_url: Where the service is; else ``ROCKAI_BASE_URL``, else ``https://api.rockai.online/v1``.
            Without a scheme it is https.
        timeout: Seconds for one whole operation, waits between retries included. None: no total for `run`
            and `stream` (the limits of `timeouts` hold), one hour for `predictions.wait`; `math.inf`: none.
        max_retries: Retries; none starts a second paid prediction.
        route: ``"auto"``: ``/run`` and ``/run_sse``, and where the service has no such route, create and
            wait, create and stream. ``"run"``: the first two only. ``"predictions"``: always the latter,
            which gives an id: a cold model can be seen, canceled, and waited for again.
        service: Assumptions about the service.
        default_headers: Headers for every call to the base URL's origin.
        http_client: An `httpx.Client` of your own. It is not closed here, deadlines hold with it only as
            far as its own socket timeouts, and it fetches no files.
        timeouts: The limits besides the total: connect, first byte, idle, poll.
        allow_http: Allow plain http to another machine, where everybody on the way can read the token.

    Raises:
        ConfigurationError: A setting cannot be right, or there is no token.

    Example:
        >>> with Client(timeout=60, route="predictions") as client:
        ...     prediction = client.run("meta/meta-llama-3-70b-instruct", {"prompt": "Say: good morning"})
        ...     print(prediction.text, prediction.metrics)
        good morning {'predict_time': ...}
    """

    _session: Session

    def __init__(
        self,
        api_token: str | None = None,
        base_url: str | None = None,
        timeout: float | None = None,
        max_retries: int = 2,
        route: Route = "auto",
        service: Service = DEFAULT_SERVICE,
        default_headers: Mapping[str, str] | None = None,
        http_client: httpx.Client | None = None,
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        allow_http: bool = False,
    ) -> None:
        super().__init__(
            Session,
            httpx.Client,
            http_client,
            api_token=api_token,
            base_url=base_url,
            timeout=timeout,
            max_retries=max_retries,
            route=route,
            service=service,
            default_headers=default_headers,
            timeouts=timeouts,
            allow_http=allow_http,
        )

    @cached_property
    def predictions(self) -> "Predictions":
        """The prediction lifecycle: create, get, cancel, wait, stream.

        Example:
            >>> client.predictions.create(model="meta/musicgen", input={"prompt": "rain"}).status
            'starting'
        """
        return Predictions(self._session)  # made anew, so that a client that is dropped is gone at once

    def run(
        self,
        model: str,
        input: Mapping[str, Any],
        *,
        on_text: OnText | None = None,
        timeout: float | None = None,
    ) -> Prediction:
        """Run a model and wait for its end.

        Args:
            model: ``owner/name``, ``owner/name:version``, or a bare version of 64 hex digits.
            input: The model's own input keys. A `pathlib.Path`, bytes or an open binary file becomes a data
                URI, 10 MiB each at most.
            on_text: Called with each piece of text as it comes; the run then goes through the event stream.
            timeout: Seconds for the whole run; None: the client's.

        Returns:
            The prediction that succeeded. Through ``/run`` the service may give no id.

        Raises:
            ConfigurationError: Nothing was sent.
            PredictionFailedError: The model failed.
            PredictionCanceledError: It was canceled elsewhere.
            PredictionTimeoutError: Time ran out; the prediction goes on, its id is in the error.
            RockAIError: Anything else; `may_have_started` says whether a prediction may be running.

        Example:
            >>> client.run("mistralai/mistral-7b-instruct-v0.1", {"prompt": "Say: hello"}).text
            'hello'
        """
        check_callback(on_text, "on_text", may_await=False)
        run = self._session.operations.run_request(ModelReference.parse(model), input)
        return self._session.do(self._session.operations.run, run, timeout, on_text)

    def stream(
        self,
        model: str,
        input: Mapping[str, Any],
        *,
        timeout: float | None = None,
    ) -> "Stream":
        """Run a model and iterate over its text, piece by piece, exactly as the model said it.

        Args:
            model: As in `run`.
            input: As in `run`.
            timeout: Seconds for the whole stream; None: the client's.

        Returns:
            A stream. Nothing is sent before its first piece is asked for. Leave it early with ``with`` or
            ``close()``: that closes the connection at once, and cancels the prediction where its id is known.

        Raises:
            ConfigurationError: Nothing was sent. What else can go wrong is raised while iterating.

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
            prediction: One that has succeeded.
            folder: Where to save them; made if it does not exist.
            max_bytes: The largest file that is accepted, each.
            allow_private: Also fetch from private, loopback and link-local addresses. They are refused
                otherwise, unless the base URL itself is on such an address.
            timeout: Seconds for all files together; None: the client's.

        Returns:
            The files' paths, in the order of the output; empty where the output names no file.

        Raises:
            ConfigurationError: The prediction has not succeeded, or the folder cannot be written.
            InvalidResponseError: An address or a file that is not accepted.
            RockAIError: A file could not be fetched.

        Example:
            >>> made = client.run("incomingflyingbrick/flux-1-schnell", {"prompt": "a lighthouse"})
            >>> [path.suffix for path in client.download(made, "out")]
            ['.png']
        """
        return self._session.do(
            self._session.operations.download,
            prediction,
            folder,
            timeout,
            max_bytes=max_bytes,
            allow_private=allow_private,
        )

    def close(self) -> None:
        """Close the connections. The client can be used again; it then makes new ones.

        Example:
            >>> client.close()
        """
        self._session.connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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
        """Create a prediction, and do not wait for it.

        Args:
            model: ``owner/name`` or ``owner/name:version``.
            version: 64 hex digits.
            input: As in `Client.run`.
            stream: Ask for an event stream, whose address is then in ``urls``.
            webhook: An https address that the service tells of what happens.
            webhook_events_filter: Of ``start``, ``output``, ``logs`` and ``completed``, those it is told.

        Returns:
            The prediction, mostly ``starting``.

        Raises:
            ConfigurationError: Nothing was sent.
            RockAIError: `may_have_started` says whether a prediction may be running all the same.

        Example:
            >>> started = client.predictions.create(
            ...     model="meta/llama-2-7b-chat", input={"prompt": "Say: hello"}
            ... )
            >>> started.status
            'starting'
        """
        reference = ModelReference.combine(model, version)
        run = self._session.operations.run_request(
            reference,
            input,
            stream=stream,
            webhook=webhook,
            webhook_events_filter=webhook_events_filter,
        )
        return self._session.do(self._session.operations.create, run)

    def get(self, prediction_id: str) -> Prediction:
        """Look at a prediction once.

        Args:
            prediction_id: Its id.

        Returns:
            The prediction as it is now.

        Raises:
            NotFoundError: There is none with this id.
            RockAIError: It could not be looked at.

        Example:
            >>> started = client.predictions.create(model="sandbox/stays-cold", input={})
            >>> client.predictions.get(started.id).status
            'starting'
        """
        return self._session.do(self._session.operations.get, prediction_id)

    def cancel(self, prediction_id: str | Prediction) -> Prediction:
        """Cancel a prediction. One that has come to its end stays as it is.

        Args:
            prediction_id: Its id, or the prediction.

        Returns:
            The prediction as the service answers; as last known, where it answers with something else.

        Raises:
            RockAIError: It could not be canceled, as far as is known.

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
        """Wait until a prediction has come to its end. Leaving early never cancels it.

        Args:
            prediction_or_id: What to wait for.
            timeout: Seconds; None: the client's, else one hour.
            on_update: Called on each change of status and on new log lines, with the progress that
                tqdm-style logs show.

        Returns:
            The prediction that succeeded.

        Raises:
            PredictionFailedError: The model failed.
            PredictionCanceledError: It was canceled.
            PredictionTimeoutError: Time ran out; the prediction goes on and can be waited for again.
            RockAIError: It could not be looked at.

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
        """Iterate over the text of a prediction that was created before. Leaving early cancels it.

        Args:
            prediction: What to follow, best created with ``stream=True``; one that has no event stream is
                waited for, and its output comes as one piece.

        Returns:
            A stream, as of `Client.stream`.

        Raises:
            ConfigurationError: It has no id. What else can go wrong is raised while iterating.

        Example:
            >>> started = client.predictions.create(
            ...     model="meta/llama-2-7b-chat", input={"prompt": "Say: one two"}, stream=True
            ... )
            >>> list(client.predictions.stream(started))
            ['one', ' two']
        """
        io, state = self._session.io(), StreamState()
        return Stream(io, state, self._session.operations.stream_prediction(io, prediction, state))
