"""What HTML of a stranger's a page may show: elements, attributes and addresses, by lists of what is allowed."""

from __future__ import annotations

import re
from functools import cache
from html import unescape
from urllib.parse import unquote

NAMES = (
    "a abbr b blockquote br caption center cite code col colgroup dd del details div dl dt em figcaption figure "
    "font h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp small span strong sub summary sup table "
    "tbody td tfoot th thead tr tt u ul var"
)
STYLES = ["text-align", "color", "background-color", "font-weight"]
# No remote picture: it would tell its owner who reads the page, and when.
PICTURE = re.compile(r"data:image/(png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*")
# No id and no name: formgrader finds the box for a score by the id of its cell, and a heading may be called so.
ATTRIBUTES = {"title", "alt", "style", "colspan", "rowspan", "width", "height", "start", "border"}
_CLASSES = {"highlight", "dataframe", "table", "table-bordered", "verdicts"}


@cache
def classes() -> frozenset[str]:
    """Return the classes that a stranger's elements may have: those of coloured code, and of tables."""
    from pygments.token import STANDARD_TYPES

    return frozenset(STANDARD_TYPES.values()) | _CLASSES


_TAG = re.compile(r"""</?([a-z][a-z0-9]*)((?:\s+[a-z]+="[^"<>]*")*)\s*/?>""")
_ATTRIBUTE = re.compile(r'([a-z]+)="([^"]*)"')
_LANGUAGE = re.compile(
    r"language-\S*"
)  # of a fence: whatever stands there, in quotes, is a class and no more
_TASK = re.compile(r'<input class="task-list-item-checkbox" type="checkbox" disabled( checked)?/>')


def is_harmless(html: str) -> bool:
    """Return whether every < of rendered Markdown opens or closes a harmless element, strictly written."""
    position = -1
    while (position := html.find("<", position + 1)) >= 0:
        if _TASK.match(html, position):
            continue
        tag = _TAG.match(html, position)
        if tag is None or tag[1] not in NAMES.split():
            return False
        for name, value in _ATTRIBUTE.findall(tag[2]):
            if not is_harmless_attribute(tag[1], name, unescape(value)):
                return False
    return True


# A picture that lies elsewhere, or one beside the page, by its name: a browser asks for it on a mere visit.
_FILE = re.compile(
    r"https?://[\w./%?=&+:#~(),;!@*$-]+|(?!/)[\w./%&+~(),;!@*$=-]+\.(png|jpe?g|gif|svg|webp|bmp)", re.I
)
# One pasted into the cell: of a scheme that no browser knows, so that only who knows notebooks asks for it.
_PASTED = re.compile(r"attachment:[^\x00-\x1f]+")


def acts_not(address: str) -> bool:
    """Return whether an address is none of formgrader's, whose pages act on a mere visit: see `formgrader.py`."""
    return "formgrader" not in unquote(address).lower()


def is_harmless_attribute(tag: str, name: str, value: str) -> bool:
    """Return whether an attribute of an element, its value unescaped, neither runs nor does anything."""
    if name == "src":
        known = any(kind.fullmatch(value) for kind in (_FILE, _PASTED))
        return bool(PICTURE.fullmatch(value)) or (known and acts_not(value))
    if name == "href":
        return bool(re.match(r"(https?://|mailto:|#|[\w.-]+$)", value)) and acts_not(value)
    if name == "id":
        return re.fullmatch("h[1-6]", tag) is not None
    if name == "class":
        known = classes() | {"anchor-link", "task-list-item"}
        return all(word in known or (tag == "code" and _LANGUAGE.fullmatch(word)) for word in value.split())
    if name == "style":
        return re.fullmatch(r"text-align: ?(left|right|center);?", value) is not None
    return name in ATTRIBUTES or name in ("align", "color", "size", "face", "target", "rel")
