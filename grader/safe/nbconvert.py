"""nbconvert's configuration, so that formgrader and feedback show only clean HTML."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from grader.safe.clock import at_most, begin_page
from grader.safe.formgrader import guard
from grader.safe.html import SECONDS, clean_html, render_markdown
from grader.safe.pictures import Shown

PAGE = 30.0  # seconds of processor time for what the parsers do on one page; the rest is shown as text
_SHOWN = "grader_pictures"  # among nbconvert's resources: the pictures of the page that is made
MAX_CODE = 100_000  # characters of a cell of code that gets colours


def configure(config: Any) -> None:
    """Let nbgrader's formgrader and feedback show only clean HTML, and formgrader run nothing of a submission.

    Call it from an nbgrader_config.py.
    """
    from jinja2 import pass_context
    from nbconvert.preprocessors import Preprocessor

    guard()

    @pass_context
    def markdown2html(context: Any, source: str) -> str:
        shown = (context.get("resources") or {}).get(_SHOWN)
        shown = shown if isinstance(shown, Shown) else None
        return render_markdown(source, (context.get("cell") or {}).get("attachments"), shown)

    class EscapeNames(Preprocessor):
        """Begins a page: escapes the names that formgrader's is made with; its template takes them for HTML."""

        def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
            begin_page(PAGE)
            resources[_SHOWN] = Shown((resources.get("metadata") or {}).get("path") or "")
            for key in (
                "assignment_id",
                "notebook_id",
                "student",
                "first_name",
                "last_name",
                "notebook_path",
            ):
                if isinstance(resources.get(key), str):
                    resources[key] = escape(resources[key])
            return nb, resources

    # Formgrader shows submissions through the same exporter as feedback. The templates before nbgrader's own
    # are the page of feedback, and one that loads no MathJax: no script from the network meets the gradebook.
    # (Found without importing formgrader, which takes a second.)
    nbgrader = Path(find_spec("nbgrader").origin).parent
    theirs = nbgrader / "server_extensions" / "formgrader" / "templates"
    config.HTMLExporter.extra_template_basedirs = [
        str(Path(__file__).parents[1] / "pages" / "templates"),
        str(theirs),
    ]
    config.HTMLExporter.sanitize_html = True
    config.HTMLExporter.filters = {
        "clean_html": clean_html,
        "markdown2html": markdown2html,
        "highlight_code": highlight_code,
    }
    config.HTMLExporter.preprocessors = [EscapeNames]


def highlight_code(source: str, language: str | None = None, metadata: Any = None) -> str:
    """Return a cell of code as HTML; one that is large, or that pygments takes long to read, without colours.

    For some texts, such as a line of @, the time grows with the square of their length.
    """
    if len(source) <= MAX_CODE:
        try:
            with at_most(SECONDS):
                return _highlighter()(source, language, metadata)
        except Exception:  # the clock, or the parser, which meets a stranger's text
            pass
    return f'<div class="highlight"><pre>{escape(source)}</pre></div>'


@cache
def _highlighter() -> Any:
    from nbconvert.filters.highlight import Highlight2HTML

    return Highlight2HTML(pygments_lexer="ipython3")
