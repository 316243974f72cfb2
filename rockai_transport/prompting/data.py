"""The tables of this package that stand in files beside its modules."""

from __future__ import annotations

import json
from typing import Any, cast


def read_table(name: str) -> Any:
    """Read a table, as the module that holds it is imported: like code, it comes with the package.

    Args:
        name: The file's path in this package.

    Returns:
        What the file says.
    """
    folder = __file__.removesuffix("data.py")
    return json.loads(cast("Any", __spec__).loader.get_data(folder + name))
