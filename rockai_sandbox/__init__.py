"""A local RockAI for development and tests: a real HTTP server whose responses are rule-based.

```python
from rockai_sandbox import Sandbox

with Sandbox() as sandbox:
    @sandbox.model("owner/name")
    def talk(input):
        yield "Hello"
```

It needs the extra: ``pip install ".[sandbox]"``. Names are loaded on first use,
because pytest imports this package for its plugin.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rockai_sandbox.inputs import Input
    from rockai_sandbox.models.misc import ECHO, FAILS_HALF_WAY, NEVER_ENDS, STAYS_COLD
    from rockai_sandbox.predictions import SandboxPrediction
    from rockai_sandbox.protocol import Event, Protocol, RawAnswer
    from rockai_sandbox.recorder import SeenRequest
    from rockai_sandbox.runs import CanceledError, Gate, Run
    from rockai_sandbox.sandbox import Sandbox

__all__ = [
    "ECHO",
    "FAILS_HALF_WAY",
    "NEVER_ENDS",
    "STAYS_COLD",
    "CanceledError",
    "Event",
    "Gate",
    "Input",
    "Protocol",
    "RawAnswer",
    "Run",
    "Sandbox",
    "SandboxPrediction",
    "SeenRequest",
]

_HOMES = {
    "ECHO": "models.misc",
    "FAILS_HALF_WAY": "models.misc",
    "NEVER_ENDS": "models.misc",
    "STAYS_COLD": "models.misc",
    "CanceledError": "runs",
    "Event": "protocol",
    "Gate": "runs",
    "Input": "inputs",
    "Protocol": "protocol",
    "RawAnswer": "protocol",
    "Run": "runs",
    "Sandbox": "sandbox",
    "SandboxPrediction": "predictions",
    "SeenRequest": "recorder",
}


class MissingExtraError(ImportError):
    """The sandbox extra is not installed; the message says how to install it."""


_EXTRA = frozenset({"starlette", "uvicorn", "av", "PIL"})
_FORMER_NAMES = {"Hold": "Gate", "Prediction": "SandboxPrediction"}


if not TYPE_CHECKING:  # to a type checker, every name would exist

    def __getattr__(name: str) -> Any:
        name = _FORMER_NAMES.get(name, name)
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in _EXTRA:
                raise
            raise MissingExtraError(
                f"rockai_sandbox.{name} needs the sandbox extra: "
                'pip install ".[sandbox]" in a clone of the repository'
            ) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
