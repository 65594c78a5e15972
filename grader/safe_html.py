"""What a student wrote, made harmless before a browser sees it.

nbconvert's `sanitize_html` misses the Markdown cells of nbgrader's templates and mangles ordinary tables, so the
two filters through which all HTML of a page passes are replaced here, for feedback and formgrader alike.
"""

from __future__ import annotations

import re
from typing import Any

import bleach
from bleach.css_sanitizer import CSSSanitizer
from jinja2 import pass_context
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

_NAMES = (
    "a abbr b blockquote br caption cite code col colgroup dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i "
    "img ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr "
    "tt u ul var"
)
_STYLES = CSSSanitizer(allowed_css_properties=["text-align", "color", "background-color", "font-weight"])
# No remote picture: it would tell its owner who reads the page, and when.
_PICTURE = re.compile(r"data:image/(png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*")
_ALWAYS = {"class", "title", "alt", "style", "colspan", "rowspan", "width", "height", "start", "border"}
_CLEANER = dict(
    tags=frozenset(_NAMES.split()), protocols={"http", "https", "mailto", "data"}, css_sanitizer=_STYLES
)


def _is_allowed(tag: str, name: str, value: str) -> bool:
    if tag == "img" and name == "src":
        return bool(_PICTURE.fullmatch(value))
    if tag == "a" and name == "href":
        return not re.match(r"\s*data\s*:", value, re.IGNORECASE)
    if name == "id":
        return tag in ("h1", "h2", "h3", "h4", "h5", "h6")
    return name in _ALWAYS


def clean_html(text: Any) -> str:
    """Return HTML without scripts, forms, frames, remote pictures and handlers; tables and text stay."""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return bleach.clean(text, attributes=_is_allowed, strip_comments=True, **_CLEANER)


@pass_context
def markdown2html(context: Any, source: str) -> str:
    """Return Markdown as clean HTML; formulas stay as they are for MathJax."""
    return clean_html(MarkdownWithMath(renderer=IPythonRenderer(escape=False)).render(source))


FILTERS = {"clean_html": clean_html, "markdown2html": markdown2html}
