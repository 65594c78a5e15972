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
from collections.abc import Iterable
from functools import cache, cached_property
from html import escape, unescape
from typing import Any
from urllib.parse import urlsplit

from grader.safe import pictures
from grader.safe.allowed import ATTRIBUTES, NAMES, PICTURE, STYLES, acts_not, classes, is_harmless_attribute
from grader.safe.allowed import is_harmless as _is_harmless
from grader.safe.clock import at_most
from grader.safe.formulas import mathml

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
            tags=frozenset(NAMES.split()),
            attributes=_is_allowed,
            protocols={"data"},
            css_sanitizer=CSSSanitizer(allowed_css_properties=STYLES),
            strip_comments=True,
        )


_cleaners = _Cleaners()


def _is_allowed(tag: str, name: str, value: str) -> bool:
    if tag == "img" and name == "src":
        return bool(PICTURE.fullmatch(value))
    if name == "class":
        # A free choice of classes could lay a page of one's own over formgrader's.
        return bool(_FORMULA_CLASS.fullmatch(value)) or set(value.split()) <= classes()
    return name in ATTRIBUTES


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
    from mistune.util import striptags
    from nbconvert.filters.markdown_mistune import IPythonRenderer

    class Renderer(IPythonRenderer):
        def __init__(
            self, attachments: dict[str, dict[str, str]] | None = None, shown: pictures.Shown | None = None
        ):
            super().__init__(escape=False, exclude_anchor_links=True, attachments=attachments)
            self.places: dict[str, str] = {}
            self._shown = shown or pictures.Shown()
            self._formulas = 0
            self._token = secrets.token_hex(8)

        def link(self, text: str, url: str, title: str | None = None) -> str:
            # An address to read, not to click. One click on `../formgrader?path=...` would make nbgrader take
            # its configuration, which is Python, from a folder that a student filled.
            shown = escape(url)
            return text if shown in text or not urlsplit(url).netloc else f"{text} ({shown})"

        def image(self, text: str, url: str, title: str | None = None) -> str:
            told = {"src": url, "alt": unescape(striptags(text)), "title": title or ""}
            return self._picture({name: value for name, value in told.items() if value or name != "title"})

        def block_html(self, html: str) -> str:
            return super().block_html(self._with_pictures(html))

        def inline_html(self, html: str) -> str:
            return super().inline_html(self._with_pictures(html))

        def _with_pictures(self, html: str) -> str:
            found = ((tag, pictures.attributes(tag[0])) for tag in pictures.TAG.finditer(html))
            return _replaced(html, [(tag, self._picture(told)) for tag, told in found if told is not None])

        def _picture(self, told: dict[str, str]) -> str:
            # Not in the text that is parsed again to be cleaned: a picture has millions of characters.
            tag = self._shown.tag(told, self.attachments)
            return self._place(tag) if tag else pictures.words(told["src"], told.get("alt", ""))

        def inline_math(self, body: str) -> str:
            return self._formula(body, f"${body}$", "inline")

        def block_math(self, body: str) -> str:
            return self._formula(body, f"$${body}$$", "block")

        def latex_environment(self, name: str, body: str) -> str:
            whole = f"\\begin{{{name}}}{body}\\end{{{name}}}"
            return self._formula(whole, whole, "block")

        def _formula(self, body: str, source: str, display: str) -> str:
            self._formulas += 1
            found = mathml(body, display) if self._formulas <= MAX_FORMULAS else ""
            return self._place(found) if found else f"<code>{escape(source)}</code>"

        def _place(self, html: str) -> str:
            place = f'<span class="formula-{self._token}-{len(self.places)}"></span>'
            self.places[place] = html
            return place

    return Renderer


def _render(source: str, renderer: Any) -> str:
    from nbconvert.filters.markdown_mistune import MarkdownWithMath

    return MarkdownWithMath(renderer=renderer).render(source)


def _replaced(text: str, found: Iterable[tuple[re.Match[str], str]]) -> str:
    """Return `text` with what was found in it, in order, replaced."""
    pieces, position = [], 0
    for match, new in found:
        pieces += [text[position : match.start()], new]
        position = match.end()
    return "".join([*pieces, text[position:]])


def render_markdown(
    source: str,
    attachments: dict[str, dict[str, str]] | None = None,
    shown: pictures.Shown | None = None,
) -> str:
    """Return Markdown as clean HTML; formulas become MathML, which needs no script and no network.

    Pictures are put into the page as far as `shown` allows; of any other its name stands there.
    """
    if _is_too_much(source):
        return _as_text(source)
    renderer = _renderer()(attachments, shown)
    try:
        with at_most(SECONDS):
            text = html_within_limits(_render(source, renderer))
    except Exception:  # the clock, or the parser, which meets a stranger's text, nested as deep as they like
        text = None
    if text is None:
        return _as_text(source)
    # Cleaning escapes < in attributes, so a place that is found stands where an element may stand.
    text = _PLACE.sub(lambda place: renderer.places.get(place[0], place[0]), text)
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


# --- Markdown that is written to disk ------------------------------------------------------------------------

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
    """Return the Markdown with what would run made text, the empty string where it would run all the same."""
    raw: list[str] = []
    found = _recorder()(raw, attachments)
    if _is_harmless(_render(source, found)):
        return source
    bad = {html for html in raw if not _is_harmless(html)}
    if len(bad) > MAX_PIECES:
        return ""
    for html in sorted(bad, key=lambda html: (-len(html), html)):
        source = source.replace(html, _as_harmless_html(html))
    if any(_names_a_file(url) for url in found.pictures):
        source = _IMAGE.sub(_as_words, source)
    return source if _is_harmless(_render(source, _recorder()([], attachments))) else ""


def _as_harmless_html(html: str) -> str:
    """Return HTML with its pictures strictly written, where nothing else of it does harm, or else as text."""
    strict = pictures.TAG.sub(lambda tag: pictures.strictly_written(tag[0]), html)
    return strict if _is_harmless(strict) else html.replace("<", "&lt;")


# A picture in Markdown, as it is mostly written. What is written otherwise makes a block of text of the whole.
_IMAGE = re.compile(
    r"!\[([^\[\]]*)\]\(\s*(?:<([^<>\n]*)>|([^\s()<>]+))(?:\s+(?:\"[^\"\n]*\"|'[^'\n]*'))?\s*\)"
)


def _names_a_file(address: str) -> bool:
    """Return whether an address is one of a file that no page can show: to be named, not to be asked for."""
    return (
        not is_harmless_attribute("img", "src", address)
        and acts_not(address)
        and re.search(r"\.\w{1,5}$", address) is not None
    )


def _as_words(image: re.Match[str]) -> str:
    from mistune.util import escape_url

    address = image[2] or image[3] or ""
    told = f"{image[1]} `{address.replace('`', '')}`".strip()
    return f"[picture: {told}]" if _names_a_file(escape_url(address)) else image[0]


def asked_for(source: str) -> list[str]:
    """Return the addresses of the pictures in Markdown, each as often as it stands there.

    They are written as nbconvert looks for them among the attachments. Nothing where the text is too much for a
    parser.
    """
    if _is_too_much(source):
        return []
    raw: list[str] = []
    found = _recorder()(raw, _Everything())
    try:
        with at_most(SECONDS):
            _render(source, found)
    except Exception:  # the clock, or the parser, which meets a stranger's text
        return []
    tags = [pictures.attributes(tag) or {} for html in raw for tag in pictures.TAG.findall(html)]
    return [*found.pictures, *(told["src"] for told in tags if "src" in told)]


class _Everything(dict[str, dict[str, str]]):
    """Attachments of any name."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> dict[str, str]:
        return {"image/png": ""}


@cache
def _recorder() -> type:
    """Return nbconvert's own renderer, which also keeps the HTML and the pictures that it finds in the Markdown."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer

    class Recorder(IPythonRenderer):
        def __init__(self, raw: list[str], attachments: dict[str, dict[str, str]] | None):
            # A picture's data would make the page that is searched as large as all of them.
            if not isinstance(attachments, _Everything):
                attachments = {name: {"image/png": ""} for name in attachments or ()}
            super().__init__(escape=False, attachments=attachments)
            self._raw = raw
            self.pictures: list[str] = []

        def block_html(self, html: str) -> str:
            self._raw.append(html.strip())
            return super().block_html(html)

        def inline_html(self, html: str) -> str:
            self._raw.append(html.strip())
            return super().inline_html(html)

        def image(self, text: str, url: str, title: str | None = None) -> str:
            self.pictures.append(url)
            return super().image(text, url, title)

    return Recorder
