"""The tables of this package, in files next to its modules."""

from __future__ import annotations

import json
from typing import Any, cast


def read_table(name: str) -> Any:
    """Read a table; called when its module is imported, because it is part of the package like code.

    Args:
        name: The file's path in this package.

    Returns:
        The table.
    """
    folder = __file__.removesuffix("data.py")
    return json.loads(cast("Any", __spec__).loader.get_data(folder + name))
