"""Pictures of a stranger's: what they are, how large they get when drawn, and where a text asks for them.

Shown are PNG, JPEG and GIF, as data in the page: no request leaves it. SVG can hold scripts, and so is only named.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import posixpath
import re
import stat
import unicodedata
import warnings
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

KINDS = "image/png", "image/jpeg", "image/gif"
MAX_PICTURE = 4 << 20  # bytes of one file that a page shows
MAX_SHOWN = 32 << 20  # characters of all pictures of one page
MAX_PIXELS = 50_000_000  # of one picture; a few kilobytes can unpack to gigabytes in a browser
MAX_FRAMES = 10 * MAX_PIXELS  # pixels of all frames of one that moves

TAG = re.compile(r"<img\b[^<>]*>", re.I)
_FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "MPO": "image/jpeg", "GIF": "image/gif"}
# What browsers take for a picture, whatever its MIME type says: PNG, JPEG and GIF, however broken; WebP, BMP, icons,
# AVIF, JPEG XL.
_DRAWN = re.compile(
    rb"\x89PNG|\xff\xd8|GIF8|RIFF....WEBP|BM|\0\0[\1\2]\0|....ftyp|\xff\x0a|\0\0\0\x0cJXL", re.S
)
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*")
_DATA = re.compile(r"data:(image/\w+);base64,([A-Za-z0-9+/=\s]*)")
_SIZE = re.compile(r"\d{1,4}(?:\.\d+)?(?:px|%)?")
_STYLED = re.compile(r"(?:^|;)\s*(width|height)\s*:\s*(\d{1,4}(?:\.\d+)?(?:px|%)?)\s*(?=;|$)", re.I)
# Attributes of an <img> that do no harm and are not needed.
_LEFT_OUT = {"style", "class", "id", "align", "border", "hspace", "vspace", "loading", "decoding"}


# --- one picture --------------------------------------------------------------------------------------------


def kind_of(data: bytes) -> str:
    """Return the MIME type of a picture that a page may show, the empty string for anything else.

    Only its head is read, nothing is unpacked.
    """
    kind, pixels = _head(data)
    return kind if pixels <= MAX_PIXELS else ""


def problem(data: bytes) -> str:
    """Return why no page may show this where a picture is, the empty string where it does no harm there."""
    kind, pixels = _head(data)
    if pixels > MAX_PIXELS:
        return f"has more than {MAX_PIXELS // 1_000_000} million pixels, or takes long to be measured"
    return "is no PNG, JPEG or GIF that can be read" if not kind and _DRAWN.match(data) else ""


def _head(data: bytes) -> tuple[str, float]:
    """Return the MIME type of a picture and its pixels, infinitely many where its frames are too many to be drawn."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own on pixels and on broken frames
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "GIF")) as picture:
                pixels = float(picture.width * picture.height)
                if pixels <= MAX_PIXELS and pixels * getattr(picture, "n_frames", 1) > MAX_FRAMES:
                    pixels = float("inf")
                return _FORMATS.get(picture.format or "", ""), pixels
    except UnidentifiedImageError:
        return "", 0.0
    except Exception:  # Pillow's own limit on pixels; the clock; whatever else a stranger's file brings about
        return "", float("inf")


def decoded(text: str) -> bytes:
    """Return what base64 stands for, nothing where it is none."""
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return b""


# --- the names by which a text asks for them ---------------------------------------------------------------


def find(attachments: Any, name: str) -> str | None:
    """Return the name of the attachment that a text means by `name`, None where there is no such.

    Editors write the name into the text percent-encoded or not, and macOS takes accents apart.
    """
    if name in attachments:
        return name
    wanted = _same(name)
    return next((known for known in attachments if _same(known) == wanted), None)


def _same(name: str) -> str:
    return unicodedata.normalize("NFC", unquote(name))


def words(address: str, alt: str = "") -> str:
    """Return what stands where a picture cannot be shown, as HTML: its name, so that somebody can look for it."""
    name = unquote(address.removeprefix("attachment:"))
    name = "" if name.startswith("data:") else name[:200]
    told = f"{alt} ({name})" if alt and name and alt != name else alt or name or "without a name"
    return f"[picture: {escape(told)}]"


class _Tag(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str | None]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img" and self.found is None:
            self.found = attrs


def attributes(tag: str) -> dict[str, str] | None:
    """Return what an <img> says of source, texts and size, None where it says more than that.

    More is what could run or load something else. A width in its style counts as a width.
    """
    parser = _Tag()
    parser.feed(tag)
    found: dict[str, str] = {}
    for name, value in parser.found or ():
        found.setdefault(name, value or "")
    told = {name: found.pop(name) for name in ("src", "alt", "title") if name in found}
    sizes = {name.lower(): size for name, size in _STYLED.findall(found.get("style", ""))}
    sizes |= {
        name: size for name in ("width", "height") if _SIZE.fullmatch(size := found.pop(name, "").strip())
    }
    return {**told, **sizes} if "src" in told and set(found) <= _LEFT_OUT else None


def strictly_written(tag: str) -> str:
    """Return an <img> with its attributes quoted, as `html.py` wants them, or as it is where it says more."""
    told = attributes(tag)
    return tag if told is None else _tag(told)


def _tag(told: dict[str, str]) -> str:
    written = "".join(f' {name}="{escape(value)}"' for name, value in told.items())
    return f"<img{written}>"


# --- the pictures of one page ------------------------------------------------------------------------------


class Room:
    """What the pictures of one page may take together, in characters, however often each is shown."""

    def __init__(self, size: int = MAX_SHOWN):
        self._left = size

    def take(self, size: int) -> bool:
        """Return whether `size` characters more fit in."""
        fits = size <= self._left
        self._left -= size if fits else 0
        return fits


class Shown:
    """The pictures of one page: those pasted into its cells, and those that lie beside the notebook."""

    def __init__(self, folder: str = ""):
        """`folder` is where the notebook lies; without it no file is read."""
        self._folder, self._room = folder, Room()

    def tag(self, told: dict[str, str], attachments: dict[str, dict[str, str]]) -> str:
        """Return the <img> of what `attributes` found, its data inside; the empty string where it is not shown."""
        source = self._data(told["src"], attachments)
        return _tag({**told, "src": source}) if source and self._room.take(len(source)) else ""

    def _data(self, address: str, attachments: dict[str, dict[str, str]]) -> str:
        if match := _DATA.fullmatch(address):
            return _as_data(match[1], match[2])
        if address.startswith("attachment:"):
            pasted = attachments.get(find(attachments, address.removeprefix("attachment:")) or "")
            kinds = [kind for kind in KINDS if isinstance(pasted, dict) and pasted.get(kind)]
            return _as_data(kinds[0], pasted[kinds[0]]) if pasted and kinds else ""
        data = self._beside(address)
        return f"data:{kind};base64,{base64.b64encode(data).decode()}" if (kind := kind_of(data)) else ""

    def _beside(self, address: str) -> bytes:
        """Return the file that lies beside the notebook by that name or path, nothing where there is none."""
        try:
            parts = urlsplit(address)
        except ValueError:
            return b""
        path = unquote(parts.path)
        # A drive of Windows looks like a scheme; what begins with two slashes is another machine.
        if not self._folder or parts.scheme or parts.netloc or not path or "\0" in path or "\\" in path:
            return b""
        path = posixpath.normpath(path)
        if path.startswith(("/", "..")):
            return b""
        for name in dict.fromkeys((path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD")))):
            if data := _read(Path(self._folder), name):
                return data
        return b""


def _as_data(kind: str, text: Any) -> str:
    """Return a data URL of a picture in base64, the empty string where it is none that may be shown."""
    if (
        kind not in KINDS
        or not isinstance(text, str)
        or not _BASE64.fullmatch(text)
        or problem(decoded(text))
    ):
        return ""
    return f"data:{kind};base64,{''.join(text.split())}"


def _read(folder: Path, name: str) -> bytes:
    """Return the bytes of a regular file of at most MAX_PICTURE in `folder`; no link leads out of it."""
    path = Path(os.path.realpath(folder)) / name
    try:
        if Path(os.path.realpath(path)) != path:
            return b""
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            info = os.fstat(file.fileno())
            small = stat.S_ISREG(info.st_mode) and info.st_size <= MAX_PICTURE
            return file.read(MAX_PICTURE) if small else b""
    except (OSError, ValueError):  # not there, or no name for a file
        return b""
