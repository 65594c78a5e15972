"""Which text of PTX is launched: one kernel that takes what the check gives it, and reaches for nothing else.

The text that goes on to the driver is the one that was looked at, without its comments, so that no comment hides
anything. What the driver's own compiler would refuse is left to it. See NVIDIA, "Parallel Thread Execution ISA".
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grader.examine.checks import StudentError
from grader.examine.shown import short

MOST_TEXT = 2 << 20  # characters
MOST_SHARED = 227 << 10  # bytes of shared memory of a block, on the cards that have most
MOST_STATE = (
    512  # bytes of variables: the tables and names of libdevice (336 for a sine), none of earlier answers
)
MOST_THREADS = 1024  # of a block
MOST_GRID = ((1 << 31) - 1, 65535, 65535)  # blocks in each direction
MOST_EXTRAS = 2  # arguments after the check's own, which Triton's compiler adds

# Each pattern ends soon wherever it starts, or a text of many beginnings would keep the examiner for hours.
_PIECES = re.compile(r'("[^"\n]*")|//[^\n]*|/\*.*?(?:\*/|\Z)', re.S)
_STRING = re.compile(r'"[\w ./:-]*"')
_NAME = r"[A-Za-z_$%][\w$]*"
_ENTRY = re.compile(rf"\.entry ({_NAME}) ?\(([^()]*)\)")
_PARAMETER = re.compile(rf"\.param \.([subf])(\d+)( \.ptr(?: \.\w+)*(?: \d+)?)? {_NAME}")
_FUNCTION = re.compile(rf"\.func (?:\([^()]*\) ?)?({_NAME}) ?\([^()]*\) ?(?:\.noreturn ?)?\{{")
_CALL = re.compile(rf"(?<![\w.$%])call(?:\.\w++)*+(?: ?\([^();{{}}]*\) ?,)?+ ?({_NAME}) ?[,;]")
_STATE = re.compile(
    rf"\.(?:global|const) (?:\.align \d+ )?(?:\.v([24]) )?\.[subf](\d+) {_NAME}((?: ?\[ ?\d+ ?\]){{0,4}}) ?"
    r"(?:= ?(?:\{[^;{}]{0,4000}\}|[^;,{}]{0,200}) ?)?;"
)
# A run of words with points is a declaration's where it starts with a point, and else an instruction's (ld.global).
_SPACE = re.compile(r"(?<![\w.$%])(?<!\.ptr )(?:\.\w+)*?(\.(?:global|const))\b")
_STRANGE = re.compile(r"\.(callprototype|calltargets|loc|file|section|managed)\b|@@|(?<![\w.$%])\d\w*call\b")
_WIDTHS = {"*": 64, "i32": 32, "i64": 64, "fp32": 32}  # bits of an argument, by its kind


@dataclass(frozen=True)
class Kernel:
    """A kernel that may be launched."""

    text: str
    name: str
    threads: int  # of a block
    shared: int  # bytes of a block, besides those that the text declares
    extras: int  # arguments after the check's own: addresses, of nothing
    grid: tuple[int, int, int]
    constants: dict[str, int | float | bool]
    interpreted: bool  # whether Triton's interpreter can run it


def checked(told: Any, kinds: Sequence[str], capability: int) -> Kernel:
    """Return the kernel that a worker has told of; raises StudentError, in one sentence, for what is none.

    `kinds` are those of the arguments ("*fp16", "i32"), `capability` the card's (90 for sm_90).
    """
    if not isinstance(told, dict) or not isinstance(told.get("ptx"), str):
        raise StudentError("what came back of compiling is no kernel", yours=short(told), expected="PTX")
    shared = _whole(told.get("shared", 0), "shared", 0, MOST_SHARED)
    warps = _whole(told.get("num_warps", 4), "num_warps", 1, MOST_THREADS // 32)
    text = _bare(told["ptx"])
    _require_head(text, capability)
    _require_alone(text)
    name, parameters = _entry(text)
    extras = _require_parameters(parameters, kinds)
    threads = 32 * warps
    if found := re.search(r"\.reqntid (\d{1,9})\b(?: ?, ?1\b){0,2}( ?, ?\d+)?", text):
        threads = _whole(0 if found[2] else int(found[1]), "the block's threads (.reqntid)", 1, MOST_THREADS)
    grid, constants = _grid(told.get("grid")), _constants(told.get("constants"))
    return Kernel(text, name, threads, shared, extras, grid, constants, told.get("interpreted") is True)


def _refused(why: str) -> StudentError:
    return StudentError(f"the kernel is not launched: its PTX {why}")


def _bare(text: str) -> str:
    """Return the text without comments, each run of white space as one character."""
    if len(text) > MOST_TEXT:
        raise _refused(f"has {len(text):,} characters; {MOST_TEXT:,} are allowed")
    if not re.fullmatch(r"[\t\n\r\x20-\x7e]*", text):
        raise _refused("holds a character that is not of ASCII, or none to be printed")
    bare = _PIECES.sub(lambda piece: piece[1] or " ", text)
    # What starts a comment, a string, a line's continuation or an order to a preprocessor would be read otherwise.
    if found := re.search(r'["\\#]|/\*|//', _STRING.sub("", bare)):
        raise _refused(f"holds {found[0]!r} where none can be")
    return " ".join(bare.split())


def _require_head(text: str, capability: int) -> None:
    heads = {r"\.version": r"\.version \d\.\d ", r"\.address_size": r"\.address_size 64 "}
    heads[r"\.target"] = r"\.target sm_\d+[af]? (?!,)"
    for word, whole in heads.items():
        if len(re.findall(rf"{word}\b", text)) != 1 or not re.search(whole, text):
            raise _refused(f"must have one line {whole.partition(' ')[0]} of a usual kind".replace("\\", ""))
    target = re.search(r"\.target sm_(\d+)([af]?)", text)
    assert target  # it was there
    asked = int(target[1][:4])
    if asked > capability or (target[2] and asked != capability):
        raise _refused(f"is for sm_{asked}{target[2]}, and the card is sm_{capability}")


def _require_alone(text: str) -> None:
    """Refuse what is of another module, and what outlives a launch."""
    for found in re.finditer(r"\.(extern|weak|common|alias)\b( \.shared\b)?", text):
        if found[1] != "extern" or not found[2]:
            raise _refused(
                f"has .{found[1]}: a kernel stands alone, without print, tl.device_print, malloc and assert"
            )
    if found := _STRANGE.search(text):
        raise _refused(f"has {short(found[0])}, which no kernel needs")
    own = set(_FUNCTION.findall(text))
    calls = len(re.findall(r"(?<![\w.$%])call\b", text))
    names = _CALL.findall(text)
    strange = sorted(set(names) - own)
    if strange or calls != len(names):
        raise _refused(f"calls {short(strange) if strange else 'something'}, which it does not define")
    state = 0
    for found in _SPACE.finditer(text):
        variable = _STATE.match(text, found.start(1))
        if variable is None:
            raise _refused("has a variable of an unusual kind")
        lengths = [int(length.lstrip("0")[:12] or 0) for length in re.findall(r"\d+", variable[3])]
        state += int(variable[1] or 1) * int(variable[2][:4]) // 8 * math.prod(lengths)
    if state > MOST_STATE:
        raise _refused(f"keeps {state:,} bytes from launch to launch; {MOST_STATE} are allowed")


def _entry(text: str) -> tuple[str, list[str]]:
    found = _ENTRY.findall(text)
    if len(found) != 1 or len(re.findall(r"\.entry\b", text)) != 1:
        raise _refused("must have one .entry")
    name, parameters = found[0]
    return name, [one.strip() for one in parameters.split(",")] if parameters.strip() else []


def _require_parameters(parameters: Sequence[str], kinds: Sequence[str]) -> int:
    """Return how many parameters follow those of `kinds`."""
    extras = len(parameters) - len(kinds)
    if not 0 <= extras <= MOST_EXTRAS:
        raise _refused(f"takes {len(parameters)} arguments, and the check gives {len(kinds)}")
    widths = [_WIDTHS[kind[0] if kind[0] == "*" else kind] for kind in kinds] + extras * [64]
    for number, (parameter, width) in enumerate(zip(parameters, widths, strict=True)):
        found = _PARAMETER.fullmatch(parameter)
        if found is None or int(found[2][:4]) != width:
            raise _refused(
                f"takes {short(parameter)} as argument {number + 1}, and the check gives {width} bits"
            )
    return extras


def _grid(grid: Any) -> tuple[int, int, int]:
    if not isinstance(grid, (list, tuple)) or not 1 <= len(grid) <= 3:
        raise StudentError("the grid must be one to three numbers of blocks", yours=short(grid))
    found = [_whole(n, "a number of blocks in the grid", 1, m) for n, m in zip(grid, MOST_GRID, strict=False)]
    x, y, z = (*found, 1, 1)[:3]
    return x, y, z


def _constants(constants: Any) -> dict[str, int | float | bool]:
    if not isinstance(constants, dict) or not all(type(v) in (int, float, bool) for v in constants.values()):
        raise StudentError("the constants of a kernel must be numbers by name", yours=short(constants))
    return constants


def _whole(value: Any, what: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise StudentError(f"{what} must be a whole number from {least} to {most:,}", yours=short(value))
    return value
