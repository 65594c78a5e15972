"""Formulas of a stranger's as MathML, which needs no script and no network.

A formula that the library does not know in full stays TeX: who grades must never read another formula than the
student wrote.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html import unescape

MAX_FORMULA = 2000  # characters; a longer one stays TeX

_MATHML = """math maction menclose merror mfenced mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts
    mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none"""
_MATHML_ATTRIBUTES = """display displaystyle mathvariant stretchy fence form separator lspace rspace linethickness
    columnalign rowspacing columnspacing accent accentunder movablelimits minsize maxsize symmetric width height
    depth scriptlevel notation"""
_ENVIRONMENT = re.compile(r"\\(begin|end)\s*\{([a-zA-Z]+)(\*?)\}")
# What the library calls an environment that has lines: columns in pairs, lines one below the other, cases.
_PAIRS = "align", "aligned", "alignat", "alignedat", "flalign", "split"
_LINES = "gather", "gathered", "multline"
_MATRICES = "matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix", "smallmatrix"
_KNOWN = {**dict.fromkeys(_PAIRS, "align*"), **dict.fromkeys(_LINES, "displaylines")}
_KNOWN |= {name: name for name in (*_MATRICES, "cases", "array")} | {"dcases": "cases", "eqnarray": "array"}
_NOTHING = "equation", "displaymath", "math"  # what says only that a formula stands alone
_POSITION = re.compile(r"\s*\[[tbc]\]")
_COUNT = re.compile(r"\s*\{\s*\d+\s*\}")
_COLUMNS = re.compile(r"\s*\{([lcr|\s]*)\}")
_NO_MEANING = re.compile(r"\\label\s*\{[^{}]*\}")
_SPACE_BELOW = re.compile(r"(\\\\)\*?(?:\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm|in|mu|pc|sp|bp|dd|cc)\s*\])?")
_SIDES = "left", "right", "center"


class _Unknown(ValueError):
    """The formula has something that the library does not know."""


def mathml(latex: str, display: str) -> str:
    """Return a formula of a stranger's as MathML, the empty string where the page is to show the TeX.

    That is where it is too long, or the library fails, or would leave out or misread some of it: lines, columns, an
    environment, a command.
    """
    from latex2mathml.converter import convert_to_element

    if len(latex) > MAX_FORMULA:
        return ""
    try:
        top = convert_to_element(_in_the_librarys_words(latex), display=display)
        for element in top.iter():
            _refuse_what_was_misread(element)
            if element.tag not in _MATHML.split():
                return ""
            for name in set(element.attrib).difference(_MATHML_ATTRIBUTES.split()):
                del element.attrib[name]
            if element.tag == "mtd" and (side := element.get("columnalign")) in _SIDES:
                element.set("style", f"text-align: {side}")  # what browsers follow
            # The library writes characters as entities, which would be escaped once more.
            element.text = element.text and unescape(element.text)
        return ElementTree.tostring(top, encoding="unicode")
    except Exception:  # the library meets a stranger's text; the page shows the TeX
        return ""


def _in_the_librarys_words(latex: str) -> str:
    """Return the formula with environments that the library knows; raises _Unknown where it knows no such."""
    latex = _SPACE_BELOW.sub(r"\1 ", _NO_MEANING.sub("", latex))
    found, position = [], 0
    while match := _ENVIRONMENT.search(latex, position):
        found.append(latex[position : match.start()])
        position = match.end()
        step, name = match[1], match[2]
        if name in _NOTHING:
            continue
        if name not in _KNOWN:
            raise _Unknown(name)
        known = _KNOWN[name]
        found.append(f"\\{step}{{{known}}}")
        if step == "end":
            continue
        if name in (*_PAIRS, *_LINES, "array") and (place := _POSITION.match(latex, position)):
            position = place.end()
        if name.endswith("at"):
            if not (count := _COUNT.match(latex, position)):
                raise _Unknown(name)
            position = count.end()
        if name == "eqnarray":
            found.append("{rcl}")
        if name == "array":
            if not (columns := _COLUMNS.match(latex, position)):
                raise _Unknown(name)
            found.append(f"{{{''.join(columns[1].split())}}}")
            position = columns.end()
    return "".join([*found, latex[position:]])


def _refuse_what_was_misread(element: ElementTree.Element) -> None:
    """Raise _Unknown for an element that shows less, or something else, than the TeX says.

    The library writes what it knows as entities or as letters; a command, a column or a brace that it does not
    know stays as it is in the TeX. A line break outside of a table is one that no browser follows.
    """
    text = element.text or ""
    if "\\" in text or "$" in text or text in ("&", "#", "{", "}", "^", "_"):
        raise _Unknown(text)
    # Of these browsers draw nothing: what is crossed out, lines between columns and rows.
    drawn = element.get("notation", ""), element.get("columnlines", ""), element.get("rowlines", "")
    if element.get("linebreak") or re.search("strike|solid|dashed", " ".join(drawn)):
        raise _Unknown(element.tag)
