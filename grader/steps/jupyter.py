"""The Jupyter of this environment as a course wants it; `python -m grader.steps.jupyter`, which `make` calls once.

A `.md` file opens as the notebook that it is. In a repository that was released to a class, nbgrader's own buttons
are off: "Create Assignment" and "Validate" are an author's tools, and do nothing good to a student's copy.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


def configure(prefix: Path, repository: Path) -> None:
    """Write JupyterLab's settings to the environment `prefix`, for those who work in `repository`."""
    viewers = {
        "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Jupytext Notebook"}}
    }
    _merge(prefix / "share" / "jupyter" / "lab" / "settings" / "overrides.json", viewers)
    released = not any(repository.glob("*/source/*/"))
    _merge(
        prefix / "etc" / "jupyter" / "labconfig" / "page_config.json",
        {"disabledExtensions": {"@jupyter/nbgrader": released}},
    )


def _merge(path: Path, settings: dict[str, Any]) -> None:
    there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name, value in settings.items():
        there[name] = {**there.get(name, {}), **value}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(there, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    configure(Path(sys.prefix), REPOSITORY)
