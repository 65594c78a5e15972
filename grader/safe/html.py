"""What a student wrote, made harmless before a browser sees it.

Two walls. What is written to the autograded folder is harmless even to nbgrader's own templates (`clean_html`,
`harmless_markdown`, and `defuse` in `files.py`), since a course made elsewhere shows it with those. Where a course's
nbgrader_config.py calls `configure` of `nbconvert.py`, all HTML of formgrader and feedback is cleaned again as it is
shown; nbconvert's `sanitize_html` misses the Markdown cells of nbgrader's templates and mangles ordinary tables.
"""

from __future__ import annotations

import re
import secrets
import threading
from functools import cache, cached_property
from html import escape, unescape
from typing import Any
from urllib.parse import unquote, urlsplit

from grader.safe.clock import at_most

_NAMES = (
    "a abbr b blockquote br caption cite code col colgroup dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i "
    "img ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr "
    "tt u ul var"
)
_STYLES = ["text-align", "color", "background-color", "font-weight"]
# No remote picture: it would tell its owner who reads the page, and when.
_PICTURE = re.compile(r"data:image/(png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*")
# No id and no name: formgrader finds the box for a score by the id of its cell, and a heading may be called so.
_ATTRIBUTES = {"title", "alt", "style", "colspan", "rowspan", "width", "height", "start", "border"}
_CLASSES = {"highlight", "dataframe", "table", "table-bordered", "verdicts"}
_FORMULA_CLASS = re.compile(r"formula-[0-9a-f]{16}-\d+")
# One without an end goes to the end, as in a browser, or each of them would be searched anew.
_WITH_CONTENT = re.compile(r"<(script|style)\b(?:[^>]*+>(?:.*?</\1\s*>|.*\Z)|[^>]*+\Z)", re.I | re.S)
_ELEMENT = re.compile(r"<(/?)([a-z][a-z0-9]*)", re.I)
# What stands open until something else closes it, and so nests nothing; and what has no content.
_FLAT = {"p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot",
         "br", "hr", "img", "col", "wbr", "input"}  # fmt: skip
# Parsers take seconds for some texts. What exceeds one of these limits meets none of them; below these limits,
# the clock ends what is slow all the same.
MAX_HTML = 400_000  # characters, scripts aside
MAX_DEPTH = 100  # elements in elements
MAX_MARKDOWN = 100_000  # characters
MAX_ENVIRONMENTS = 200
MAX_SPACES = 1000  # in a row
MAX_PIECES = 1000  # different pieces of HTML in Markdown that are made text
MAX_FORMULAS = 500  # of one cell; more stay TeX
MAX_FORMULA = 2000  # characters; a longer one stays TeX
SECONDS = 5.0  # of processor time for one cell or output


class _Clean(str):
    """HTML that has passed; nbconvert's templates clean some of it twice, which would undo formulas."""


class _Cleaners(threading.local):
    """One cleaner for each thread: bleach's may not be shared."""

    @cached_property
    def one(self) -> Any:
        from bleach import Cleaner
        from bleach.css_sanitizer import CSSSanitizer

        return Cleaner(
            tags=frozenset(_NAMES.split()),
            attributes=_is_allowed,
            protocols={"data"},
            css_sanitizer=CSSSanitizer(allowed_css_properties=_STYLES),
            strip_comments=True,
        )


_cleaners = _Cleaners()


@cache
def _classes() -> frozenset[str]:
    from pygments.token import STANDARD_TYPES

    return frozenset(STANDARD_TYPES.values()) | _CLASSES


def _is_allowed(tag: str, name: str, value: str) -> bool:
    if tag == "img" and name == "src":
        return bool(_PICTURE.fullmatch(value))
    if name == "class":
        # A free choice of classes could lay a page of one's own over formgrader's.
        return bool(_FORMULA_CLASS.fullmatch(value)) or set(value.split()) <= _classes()
    return name in _ATTRIBUTES


def clean_html(text: Any) -> str:
    """Return HTML without scripts, forms, frames, links, remote pictures and handlers; tables and text stay.

    HTML that is too large, too deep or too slow to parse becomes a sentence that says so.
    """
    if isinstance(text, _Clean):
        return text
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    found = html_within_limits(text)
    return (
        _Clean(f"<p>[HTML of {len(text)} characters: too much to be shown]</p>") if found is None else found
    )


def html_within_limits(text: str) -> str | None:
    """Return HTML as `clean_html` does, None for what is too large, too deep or too slow to parse."""
    text = _WITH_CONTENT.sub("", text)
    if len(text) > MAX_HTML or _depth(text) > MAX_DEPTH:
        return None
    try:
        with at_most(SECONDS):
            return _Clean(_cleaners.one.clean(text))
    except Exception:  # the clock, or the parser, which meets a stranger's text
        return None


def _depth(text: str) -> int:
    """Return how many elements are open at once, at the most, where each end closes the last that is open."""
    depth = most = 0
    for end, name in _ELEMENT.findall(text):
        if name.lower() not in _FLAT:
            depth = max(0, depth + (-1 if end else 1))
            most = max(most, depth)
    return most


def warm_up() -> None:
    """Import the parsers."""
    clean_html("<b></b>")
    harmless_markdown("<b></b>")
    _renderer()


# --- Markdown -----------------------------------------------------------------------------------------------


@cache
def _renderer() -> type:
    """Return the class that renders Markdown; made on first use, since nbconvert takes long to import."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer

    class Renderer(IPythonRenderer):
        def __init__(self, attachments: dict[str, dict[str, str]] | None = None):
            super().__init__(escape=False, exclude_anchor_links=True, attachments=attachments)
            self.formulas: dict[str, str] = {}
            self._token = secrets.token_hex(8)

        def link(self, text: str, url: str, title: str | None = None) -> str:
            # An address to read, not to click. One click on `../formgrader?path=...` would make nbgrader take
            # its configuration, which is Python, from a folder that a student filled.
            shown = escape(url)
            return text if shown in text or not urlsplit(url).netloc else f"{text} ({shown})"

        def image(self, text: str, url: str, title: str | None = None) -> str:
            name = url.removeprefix("attachment:")
            if name != url and name not in self.attachments:
                return f"[picture: {escape(text or name)}]"
            return super().image(text, url, title)

        def inline_math(self, body: str) -> str:
            return self._formula(body, f"${body}$", "inline")

        def block_math(self, body: str) -> str:
            return self._formula(body, f"$${body}$$", "block")

        def latex_environment(self, name: str, body: str) -> str:
            whole = f"\\begin{{{name}}}{body}\\end{{{name}}}"
            return self._formula(whole, whole, "block")

        def _formula(self, body: str, source: str, display: str) -> str:
            if len(self.formulas) >= MAX_FORMULAS:
                return f"<code>{escape(source)}</code>"
            place = f'<span class="formula-{self._token}-{len(self.formulas)}"></span>'
            self.formulas[place] = mathml(body, display) or f"<code>{escape(source)}</code>"
            return place

    return Renderer


def _render(source: str, renderer: Any) -> str:
    from nbconvert.filters.markdown_mistune import MarkdownWithMath

    return MarkdownWithMath(renderer=renderer).render(source)


def render_markdown(source: str, attachments: dict[str, dict[str, str]] | None = None) -> str:
    """Return Markdown as clean HTML; formulas become MathML, which needs no script and no network."""
    if _is_too_much(source):
        return _as_text(source)
    renderer = _renderer()(attachments)
    try:
        with at_most(SECONDS):
            text = html_within_limits(_render(source, renderer))
    except Exception:  # the clock, or the parser, which meets a stranger's text, nested as deep as they like
        text = None
    if text is None:
        return _as_text(source)
    # Cleaning escapes < in attributes, so a place that is found stands where an element may stand.
    text = _PLACE.sub(lambda place: renderer.formulas.get(place[0], place[0]), text)
    # Without a class, nbgrader's style sheet draws no lines in a table.
    return _Clean(text.replace("<table>", '<table class="table table-bordered">'))


_PLACE = re.compile(f'<span class="{_FORMULA_CLASS.pattern}"></span>')


def _is_too_much(source: str) -> bool:
    return (
        len(source) > MAX_MARKDOWN
        or source.count("\\begin") > MAX_ENVIRONMENTS
        or max(map(len, re.findall(r"\s+", source)), default=0) > MAX_SPACES
    )


def _as_text(source: str) -> str:
    return _Clean(f"<pre>{escape(source)}</pre>")


_MATHML = """math maction menclose merror mfenced mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts
    mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none"""
_MATHML_ATTRIBUTES = """display displaystyle mathvariant stretchy fence form separator lspace rspace linethickness
    columnalign rowspacing columnspacing accent accentunder movablelimits minsize maxsize symmetric width height
    depth scriptlevel notation"""


def mathml(latex: str, display: str) -> str:
    """Return a formula of a stranger's as MathML, the empty string where that fails."""
    import xml.etree.ElementTree as ElementTree

    from latex2mathml.converter import convert_to_element

    if len(latex) > MAX_FORMULA:
        return ""
    try:
        top = convert_to_element(latex, display=display)
        for element in top.iter():
            if element.tag not in _MATHML.split():
                return ""
            for name in set(element.attrib).difference(_MATHML_ATTRIBUTES.split()):
                del element.attrib[name]
            # The library writes characters as entities, which would be escaped once more.
            element.text = element.text and unescape(element.text)
        return ElementTree.tostring(top, encoding="unicode")
    except Exception:  # the library meets a stranger's text; the page shows the TeX
        return ""


# --- Markdown that is written to disk ------------------------------------------------------------------------

_TAG = re.compile(r"""</?([a-z][a-z0-9]*)((?:\s+[a-z]+="[^"<>]*")*)\s*/?>""")
_ATTRIBUTE = re.compile(r'([a-z]+)="([^"]*)"')
_TASK = re.compile(r'<input class="task-list-item-checkbox" type="checkbox" disabled( checked)?/>')
_MAYBE_HTML = re.compile(r"[<&]|\]\s*[(\[:]|attachment:|[a-z]:/", re.I)


def harmless_markdown(source: str, attachments: dict[str, dict[str, str]] | None = None) -> str:
    """Return Markdown that nbconvert's own templates may show.

    Ordinary Markdown comes back as it is; HTML that would run is made text; what would run all the same becomes
    a block of text as a whole.
    """
    too_much = _is_too_much(source)
    if not too_much and not _MAYBE_HTML.search(source):
        return source
    try:
        with at_most(SECONDS):
            if not too_much and (mended := _mended(source, attachments)):
                return mended
    except Exception:  # the clock; the parser, which meets a stranger's text; or a picture that was not kept
        pass
    return in_a_fence(source)


def in_a_fence(source: str) -> str:
    """Return Markdown that shows `source` as a block of text."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", source)), default=0))
    return f"{fence}text\n{source}\n{fence}"


def _mended(source: str, attachments: dict[str, dict[str, str]] | None) -> str:
    """Return the Markdown with HTML that would run made text, the empty string where it would run all the same."""
    raw: list[str] = []
    if _is_harmless(_render(source, _recorder()(raw, attachments))):
        return source
    bad = {html for html in raw if not _is_harmless(html)}
    if len(bad) > MAX_PIECES:
        return ""
    for html in sorted(bad, key=lambda html: (-len(html), html)):
        source = source.replace(html, html.replace("<", "&lt;"))
    return source if _is_harmless(_render(source, _recorder()([], attachments))) else ""


@cache
def _recorder() -> type:
    """Return nbconvert's own renderer, which also keeps the HTML that it finds in the Markdown."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer

    class Recorder(IPythonRenderer):
        def __init__(self, raw: list[str], attachments: dict[str, dict[str, str]] | None):
            super().__init__(escape=False, attachments=attachments or {})
            self._raw = raw

        def block_html(self, html: str) -> str:
            self._raw.append(html.strip())
            return super().block_html(html)

        def inline_html(self, html: str) -> str:
            self._raw.append(html.strip())
            return super().inline_html(html)

    return Recorder


def _is_harmless(html: str) -> bool:
    """Return whether every < of rendered Markdown opens or closes a harmless element, strictly written."""
    position = -1
    while (position := html.find("<", position + 1)) >= 0:
        if _TASK.match(html, position):
            continue
        tag = _TAG.match(html, position)
        if tag is None or tag[1] not in (*_NAMES.split(), "center", "font"):
            return False
        for name, value in _ATTRIBUTE.findall(tag[2]):
            if not _is_harmless_attribute(tag[1], name, unescape(value)):
                return False
    return True


# A picture that lies elsewhere, or one beside the page, by its name: a browser asks for it on a mere visit.
_FILE = re.compile(r"https?://[\w./%?=&+-]+|(?!/)[\w./%+-]+\.(png|jpe?g|gif|svg|webp|bmp)", re.I)


def _acts_not(address: str) -> bool:
    """Return whether an address is none of formgrader's, whose pages act on a mere visit: see `formgrader.py`."""
    return "formgrader" not in unquote(address).lower()


def _is_harmless_attribute(tag: str, name: str, value: str) -> bool:
    if name == "src":
        return bool(_PICTURE.fullmatch(value)) or (_FILE.fullmatch(value) is not None and _acts_not(value))
    if name == "href":
        return bool(re.match(r"(https?://|mailto:|#|[\w.-]+$)", value)) and _acts_not(value)
    if name == "id":
        return re.fullmatch("h[1-6]", tag) is not None
    if name == "class":
        return set(value.split()) <= _classes() | {"anchor-link", "task-list-item"}
    if name == "style":
        return re.fullmatch(r"text-align: ?(left|right|center);?", value) is not None
    return name in _ATTRIBUTES or name in ("align", "color", "size", "face", "target", "rel")
