"""What an entry of a zip file is called, and when it was changed, whatever program wrote it.

The format knows names in cp437 or, with a flag, in UTF-8, and local times. What programs write instead is in public
specifications: extra fields of Info-ZIP (0x5455 times in UTC, 0x7075 names in UTF-8, 0x5855) and of PKWARE
(0x000a times of NTFS, 0x000d), UTF-8 without the flag (macOS, Linux), and the code page of the machine.
"""

from __future__ import annotations

import struct
import unicodedata
import zipfile
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from itertools import islice
from zlib import crc32

_MARKED_UTF8 = 0x800
# Code pages of DOS, which Windows writes, by how many write them; then those of Windows and Unix. Of those that fit
# equally well the first counts.
_DOS = ("cp850", "cp866", "cp1252", "cp1251", "cp852", "cp932", "gb18030", "cp949")
_OTHERS = ("cp1252", "cp1251", "cp850", "cp866", "cp852", "cp932", "gb18030", "cp949")
_SIGNS = "–—’‘“”«»…（）【】、。・～"  # beside ASCII's, in names that people give
_MOST, _LONGEST = 1000, 255  # how many names, and of how many bytes, a guess looks at: a stranger chose them
_HOSTS_OF_DOS = (0, 6, 11)  # FAT, HPFS, NTFS
_NTFS_EPOCH = 11_644_473_600  # seconds from 1601 to 1970


def names_of(
    entries: Sequence[zipfile.ZipInfo], expected: Collection[str]
) -> tuple[list[str], dict[str, str]]:
    """Return the name of each entry, and of those whose encoding had to be guessed which it is.

    A guess is one for all of a zip file: what gives names that the assignment asks for, or else looks like words.
    """
    sure = [_sure(entry) for entry in entries]
    doubtful = [_raw(entry) for entry, name in zip(entries, sure, strict=True) if name is None]
    dos = any(entry.create_system in _HOSTS_OF_DOS for entry in entries)
    encoding = _guess(doubtful, expected, _DOS if dos else _OTHERS) if doubtful else ""
    names, guessed = [], {}
    for entry, name in zip(entries, sure, strict=True):
        if name is None:
            name = _plain(_raw(entry).decode(encoding))
            guessed[name] = encoding
        names.append(name)
    return names, guessed


def modified(entry: zipfile.ZipInfo) -> float | None:
    """Return when an entry was changed, in seconds since 1970, None where it does not say.

    Times in UTC count before the local one, of which nobody knows the zone: it is taken for this machine's.
    """
    found = {}
    for kind, data in _extra(entry):
        if kind == 0x5455 and len(data) >= 5 and data[0] & 1:
            found[kind] = struct.unpack_from("<i", data, 1)[0]
        elif kind == 0x000A and len(data) >= 16 and data[4:6] == b"\1\0":
            found[kind] = struct.unpack_from("<Q", data, 8)[0] / 1e7 - _NTFS_EPOCH
        elif kind in (0x5855, 0x000D) and len(data) >= 8:
            found[kind] = struct.unpack_from("<i", data, 4)[0]
    for kind in (0x5455, 0x000A, 0x5855, 0x000D):
        if 0 < found.get(kind, 0) < 1 << 33:
            return float(found[kind])
    try:
        return datetime(*entry.date_time).timestamp()
    except ValueError:
        return None  # zip files may say month 0


def _extra(entry: zipfile.ZipInfo) -> Iterator[tuple[int, bytes]]:
    data = entry.extra
    while len(data) >= 4:
        kind, size = struct.unpack_from("<HH", data)
        yield kind, data[4 : 4 + size]
        data = data[4 + size :]


def _raw(entry: zipfile.ZipInfo) -> bytes:
    return entry.orig_filename.encode("cp437")


def _plain(name: str) -> str:
    """Return a name up to NUL; some programs write backslashes, against the format."""
    return name.partition("\0")[0].replace("\\", "/")


def _sure(entry: zipfile.ZipInfo) -> str | None:
    """Return the name of an entry where its bytes tell it, else None."""
    if entry.flag_bits & _MARKED_UTF8:
        return _plain(entry.orig_filename)
    raw = _raw(entry)
    try:
        for kind, data in _extra(entry):
            # The checksum says whether the field was written for this name, or is left from an earlier one.
            if kind == 0x7075 and data[:1] == b"\1" and data[1:5] == struct.pack("<I", crc32(raw)):
                return _plain(data[5:].decode("utf-8"))
        return _plain(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return None


def _guess(raws: Sequence[bytes], expected: Collection[str], encodings: Sequence[str]) -> str:
    """Return the encoding in which names look most like names; cp437, which decodes everything, where none fits."""
    best, best_score = "cp437", (0, -sum(map(len, raws)))
    parts = (part for raw in raws for part in raw[:_LONGEST].replace(b"\\", b"/").split(b"/"))
    sample = list(dict.fromkeys(part for part in islice(parts, _MOST) if not part.isascii()))
    for encoding in encodings:
        try:
            for raw in raws:
                raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        names = [part.decode(encoding, "replace") for part in sample]
        asked = sum(unicodedata.normalize("NFC", name) in expected for name in names)
        score = asked, -sum(map(_oddities, names))
        if score > best_score:
            best, best_score = encoding, score
    return best


def _oddities(name: str) -> int:
    """Return how much in a name is unlike words: signs, scripts that change within a word, capitals after small."""
    odd, before, scripts, foreign = 0, "", set(), 0
    for char in f"{name} ":
        if char.isalpha() or unicodedata.combining(char):
            scripts.add("LATIN" if char.isascii() else unicodedata.name(char, "?").split()[0])
            odd += char.isupper() and before.islower() and not (char.isascii() and before.isascii())
            foreign += not char.isascii()
            odd += unicodedata.name(char, "?").startswith("HALFWIDTH")
            before = char
            continue
        # Chinese and Japanese mix scripts; a Latin word has more plain letters than accented ones.
        odd += len(scripts - {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}) > 1
        odd += scripts == {"LATIN"} and foreign > 2
        odd += not (char.isascii() or char in _SIGNS)
        before, scripts, foreign = "", set(), 0
    return odd
