"""Run the notebooks on the sandbox and store their outputs: `make notebooks`. The tests use it too."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 60  # for one cell

# Said after the kernel has started, which is not clean of them.
WARNINGS_ARE_ERRORS = "import warnings; warnings.simplefilter('error')"
EXCEPT = (
    # tornado asks for a loop before there is one, which Python 3.12 warns of (tornado/ioloop.py).
    "warnings.filterwarnings('ignore', 'There is no current event loop', DeprecationWarning)",
    # ipykernel warns of itself when it is shut down (kernelbase.py).
    "warnings.filterwarnings('ignore', category=PendingDeprecationWarning, module='ipykernel')",
    # LlamaIndex looks at all members of its pydantic classes, deprecated ones too (workflows/utils.py).
    "warnings.filterwarnings('ignore', category=DeprecationWarning, module='inspect')",
    # A chat engine's memory is a database that LlamaIndex never closes (core/storage/chat_store/sql.py).
    "warnings.filterwarnings('ignore', '<aiosqlite.core.Connection', ResourceWarning)",
)


def execute(path: Path, folder: Path, *python: str) -> Any:
    """Run one notebook from top to bottom in a copy of its surroundings; what it installs is there already.

    The kernel is one interpreter, whatever kernels a user has installed, with nobody's configuration.

    Args:
        path: The notebook.
        folder: An empty folder, which plays the repository.
        python: How the interpreter is started. The default is the running one.

    Returns:
        The notebook with new outputs.

    Raises:
        CellExecutionError: A cell failed.
    """
    place = folder / "notebooks"
    place.mkdir()
    shutil.copytree(ROOT / "examples" / "documents", folder / "examples" / "documents")
    notebook = nbformat.read(path, as_version=4)
    [install] = (cell for cell in notebook.cells if cell.source.startswith("%pip install"))
    line, install.source = install.source, "pass"  # an empty cell would not be counted
    kernel = {
        "argv": [*(python or [sys.executable]), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python",
    }
    (folder / "kernels" / "python3").mkdir(parents=True)
    (folder / "kernels" / "python3" / "kernel.json").write_text(json.dumps(kernel), encoding="utf-8")
    manager = AsyncKernelManager(
        kernel_spec_manager=KernelSpecManager(
            kernel_dirs=[str(folder / "kernels")], ensure_native_kernel=False
        ),
        connection_file=str(folder / "kernel.json"),
        transport="ipc" if os.name == "posix" else "tcp",
    )
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=SECONDS,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=[f"--IPKernelApp.exec_lines={'; '.join((WARNINGS_ARE_ERRORS, *EXCEPT))}"],
    )
    private = {
        name: str(folder / "jupyter") for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")
    }
    # A call that leaves the machine ends at a closed door. On the sandbox there is none.
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    hidden = {name: value for name, value in os.environ.items() if not name.startswith(("ROCKAI_", "ROCK_"))}
    client.execute(cleanup_kc=True, cwd=str(place), env={**hidden, **private, **proxies})
    install.source = line
    notebook.metadata.language_info = {"name": "python"}  # not the version of this interpreter
    return notebook


def main() -> int:
    """Run all notebooks and store what they give; `NAME PYTHON` runs one there, and stores nothing."""
    if sys.argv[1:]:
        name, python = sys.argv[1:]
        with tempfile.TemporaryDirectory() as folder:
            execute(ROOT / "notebooks" / name, Path(folder), python)
        return 0
    for path in NOTEBOOKS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(execute(path, Path(folder)), path)
        print(f"{path.name}: {time.monotonic() - began:.0f} s, {path.stat().st_size // 1024} KiB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
