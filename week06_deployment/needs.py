"""Says in one sentence which packages a page lacks, instead of a traceback."""

import importlib.util
from collections.abc import Sequence


class Missing(ImportError):
    """A page needs a package that is not installed; a notebook shows the sentence alone."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def needs(*packages: str) -> None:
    """Raise Missing, with the remedy, if one of these modules cannot be imported: ``needs("grpc", "uvicorn")``."""
    missing = _missing(packages)
    if missing:
        raise Missing(
            f"This page needs {', '.join(missing)}; `make lab WEEK=6` installs what week 6 needs, or "
            "`.venv/bin/pip install -r requirements-week06.txt`."
        )


def _missing(packages: Sequence[str]) -> list[str]:
    return [name for name in packages if importlib.util.find_spec(name) is None]
