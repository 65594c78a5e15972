"""Says in one sentence which packages a page lacks, instead of a traceback."""

import importlib.util


class Missing(ImportError):
    """A page needs a package that is not installed; a notebook shows the sentence alone."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def needs(week: int, *modules: str) -> None:
    """Raise Missing, with the remedy, if one of these modules cannot be imported: ``needs(6, "grpc", "uvicorn")``."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise Missing(
            f"This page needs {', '.join(missing)}; `make lab WEEK={week}` installs what week {week} needs, or "
            f"`.venv/bin/pip install -r requirements-week{week:02d}.txt`."
        )
