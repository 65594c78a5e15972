"""Take out of a notebook's outputs what names the machine that built it."""

import re
import socket
import sys
from pathlib import Path
from typing import Any

import nbformat

from effdl.sources import ROOT


def private_strings() -> list[tuple[re.Pattern, str]]:
    """What an output must not hold, each with what stands for it on the page; longest path first."""
    paths = {str(ROOT): ".", sys.prefix: "$VIRTUAL_ENV", str(Path.home()): "~"}
    pairs = [
        (re.compile(re.escape(path) + r"(?![\w-])"), stand_in)
        for path, stand_in in sorted(paths.items(), key=lambda item: -len(item[0]))
        if len(path) > 1
    ]
    host = socket.gethostname()
    # A host called "gpu" would take the word out of every sentence.
    if re.search(r"[\d.-]", host) or len(host) >= 8:
        pairs.append((re.compile(rf"(?<![\w-]){re.escape(host)}(?![\w-])"), "localhost"))
    return pairs


def scrub(notebook: nbformat.NotebookNode) -> None:
    """Take out paths, the host name, Python's version, and addresses that differ from run to run."""
    patterns = [
        *private_strings(),
        (re.compile(r"/tmp/ipykernel_\d+/\d+\.py"), "cell"),
        (re.compile(r"\bat 0x[0-9a-f]{6,16}\b"), "at 0x…"),
    ]

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            for pattern, stand_in in patterns:
                value = pattern.sub(stand_in, value)
        elif isinstance(value, list):
            value = [clean(item) for item in value]
        elif isinstance(value, dict):
            value = type(value)(
                {key: item if key == "image/png" else clean(item) for key, item in value.items()}
            )
        return value

    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [clean(output) for output in cell.outputs]
