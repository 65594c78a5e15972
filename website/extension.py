"""What Sphinx does not do by itself: formulas as MathML, and the alternative text of a notebook's pictures."""

import html
import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from grader.safe.formulas import mathml

ALTS = "alts.json"
"""In the folder of sources: {page: {SHA-256 of a picture: its alternative text}}."""

TEXT = re.compile(r"\\(text|textrm)\{([^{}]*)\}")
NAME = re.compile(r"\\texttt\{[^{}]*\}")

MENDED = [
    # What the theme and MyST-NB leave without a name or a level, for those who read by ear.
    (r'<p class="caption" role="heading">', r'<p class="caption" role="heading" aria-level="2">'),
    (r'<aside class="sidebar-drawer">', r'<aside class="sidebar-drawer" aria-label="All pages">'),
    (r'<aside class="toc-drawer', r'<aside aria-label="This page" class="toc-drawer'),
    (r'<summary aria-label="Toggle hidden content">', r"<summary>"),
    (r"<th(?: [^>]*)?>\s*(?:<p>\s*</p>)?\s*</th>", r"<td></td>"),
    (r'<div id="search-results">', r'<h1>Search</h1>\n<div id="search-results">'),
]

log = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer of formulas and the step that gives pictures their text."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("builder-inited", _read_alts)
    app.connect("doctree-read", describe_pictures)
    app.connect("build-finished", mend_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_formula(node, "inline"))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    # A formula that is wider than a phone scrolls by itself.
    writer.body.append(f'<div class="formula">{_formula(node, "block")}</div>')
    raise nodes.SkipNode


def _formula(node: nodes.Element, display: str) -> str:
    found = mathml(in_simple_words(node.astext()), display)
    if not found:
        log.warning("formula that MathML cannot show: %s", node.astext(), location=node, type="website")
        return f"<code>{html.escape(node.astext())}</code>"
    return found


def in_simple_words(tex: str) -> str:
    r"""A formula in words that the library reads: `\text{with $v$ stages}` in three pieces, `\_` in a name as `_`."""
    tex = TEXT.sub(lambda match: _in_pieces(match[1], match[2]), tex)
    return NAME.sub(lambda match: match[0].replace(r"\_", "_"), tex)


def _in_pieces(command: str, words: str) -> str:
    pieces = words.split("$")
    return "".join(piece if at % 2 else f"\\{command}{{{piece}}}" for at, piece in enumerate(pieces) if piece)


def _read_alts(app: Sphinx) -> None:
    path = Path(app.srcdir) / ALTS
    app.env.website_alts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def describe_pictures(app: Sphinx, doctree: nodes.document) -> None:
    """Give each picture that a notebook made the text that `effdl.notebook.caption` kept; warn where there is none.

    MyST-NB names a picture after the SHA-256 of its bytes and drops the text.
    """
    page = app.env.current_document.docname
    known = app.env.website_alts.get(page, {})
    for image in doctree.findall(nodes.image):
        if not image.get("alt", "").strip():
            image["alt"] = known.get(Path(image["uri"]).stem, "")
        if not image["alt"].strip():
            log.warning("a picture without alternative text", location=image, type="website")


def mend_pages(app: Sphinx, failure: Exception | None) -> None:
    """Mend in every page what makes it harder to use without seeing it (MENDED)."""
    for page in Path(app.outdir).rglob("*.html") if failure is None else ():
        text = page.read_text(encoding="utf-8")
        for wrong, right in MENDED:
            text = re.sub(wrong, right, text)
        page.write_text(text, encoding="utf-8")
