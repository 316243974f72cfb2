"""Looking at a prediction, once or until it has come to its end.

Law of this module: waiting never cancels, and whatever ends it carries what was last seen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rockai_transport.errors import APITimeoutError, PredictionTimeoutError, RockAIError
from rockai_transport.protocol.effects import Flow, Notices, Sleep, Tell, chance, now
from rockai_transport.protocol.exchange import exchange
from rockai_transport.protocol.prediction import UNKNOWN, Prediction, Update, is_unfetched
from rockai_transport.protocol.requests import get_call
from rockai_transport.protocol.responses import finished, read_seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from rockai_transport.config import Settings

__all__ = ["look", "wait"]

_FIRST_POLL = 0.025
_POLL_SHARE = 0.05
_MAX_POLL = 1.0
_POLL_JITTER = 0.1


def look(settings: Settings, known: Prediction, until: float) -> Flow[Prediction]:
    """Look at a prediction once."""
    call = get_call(settings.service, known.id)
    reply = yield from exchange(settings, call, until)
    return read_seen(settings.service, call, reply, known)


def wait(
    settings: Settings,
    known: Prediction,
    until: float,
    stall: float,
    on_update: Callable[[Update], Any] | None = None,
) -> Flow[Prediction]:
    """Look again and again, less and less often, until it is terminal or the time is up.

    Args:
        settings: The client's.
        known: What is known of it.
        until: The moment when the time is up.
        stall: Seconds after which to give up if nothing has changed.
        on_update: Told each change of status, and new log lines.

    Returns:
        The prediction that succeeded.

    Raises:
        PredictionError: It failed, was canceled, or the time is up.
        RockAIError: It could not be looked at.
    """
    started = changed = yield from now()
    notices = Notices(started, f"Prediction {known.id}")
    seen: Prediction | None = None
    prediction = known
    if is_unfetched(known):
        # Should this look fail, nothing is known: least of all that it has ended well.
        prediction = yield from _look_while_waiting(settings, replace(known, status=UNKNOWN), until)
    while True:
        moment = yield from now()
        update = Update.between(seen, prediction)
        if update is not None and on_update is not None:
            yield Tell(on_update, update)
        if update is not None or (seen is not None and seen.output != prediction.output):
            changed = moment
        seen = prediction
        if prediction.is_terminal:
            return finished(prediction)
        if moment >= until or moment - changed >= stall:
            raise PredictionTimeoutError(_timeout_words(prediction, moment - started), prediction)
        if prediction.status != "processing":
            notices.tell(moment)
        yield Sleep(min(_poll_delay(moment - started, (yield from chance())), until - moment))
        prediction = yield from _look_while_waiting(settings, prediction, until)


def _look_while_waiting(settings: Settings, known: Prediction, until: float) -> Flow[Prediction]:
    """Look once; a failure carries what is known, and the end of the total is the end of the waiting."""
    try:
        return (yield from look(settings, known, until))
    except RockAIError as error:
        if isinstance(error, APITimeoutError) and (yield from now()) >= until:
            raise PredictionTimeoutError(_timeout_words(known, None), known) from error
        if known.status != UNKNOWN:
            error.prediction = error.prediction or known
            error.may_have_started = True
        raise


def _poll_delay(elapsed: float, chance: float) -> float:
    """Look soon at first, then less and less often: a twentieth of the time waited, a second at most."""
    return min(max(_FIRST_POLL, _POLL_SHARE * elapsed), _MAX_POLL) * (1 - _POLL_JITTER * chance)


def _timeout_words(prediction: Prediction, waited: float | None) -> str:
    after = "in time" if waited is None else f"after {waited:.0f} s"
    return f"Prediction {prediction.id} had not ended {after}; it was last seen {prediction.status}."
