"""Claims: what a lecture says, measured on the spot, with the bound it must meet.

A claim prints its number against the bound. It never stops a student. Two environment variables change that:

- ``EFFDL_STRICT=1``: a claim that does not hold raises :class:`ClaimFailed`, so that CI fails the notebook;
- ``EFFDL_RECORD=NAME``: the number goes to the week's ``results/NAME.json``, with machine, versions and date.

``python -m effdl.claims week01_intro`` writes the week's table of claims into its README.
"""

import datetime
import fcntl
import html
import json
import math
import os
import platform
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import typer

from effdl import device
from effdl.notebook import CROSS, TICK, Verdict, publish

BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"


class ClaimFailed(AssertionError):
    """A claim does not hold on this machine, and EFFDL_STRICT=1 asked to be told."""


@dataclass(frozen=True)
class Claim:
    """One claim that was checked: what was measured, the bound, and whether it holds."""

    key: str
    text: str
    measured: float
    shown: str
    bound: str
    holds: bool


made: list[Claim] = []
"""The claims checked so far in this process, in order."""

_seen: set[tuple[str, str]] = set()


def slug(text: str) -> str:
    """The key of a claim: its text in lower case, words joined by hyphens, at most 80 characters."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80].rstrip("-")


def number(value: float, unit: str = "") -> str:
    """A number for a reader: exact with thousands separators if whole, else four significant digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        digits = f"{int(value):,}"
    elif math.isfinite(value) and 1e3 <= abs(value) < 1e15:
        digits = f"{value:,.0f}"
    else:
        digits = f"{value:.4g}"
    return digits + (unit if unit in ("", "x", "%") else f" {unit}")


def _limits(
    expected: Any, rel: Any, abs_: Any, at_least: Any, at_most: Any, unit: str
) -> tuple[float, float, str]:
    if expected is None and at_least is None and at_most is None:
        raise ValueError("a claim needs a bound: expected=, at_least= or at_most=")
    if expected is None and (rel is not None or abs_ is not None):
        raise ValueError("rel= and abs= are tolerances around expected=, which is missing")
    low, high, words = -math.inf, math.inf, []
    if expected is not None:
        slack = max((rel or 0) * abs(float(expected)), abs_ or 0)
        low, high = float(expected) - slack, float(expected) + slack
        tolerance = f" within {rel:.3g} of it" if rel else ""
        tolerance = f" within {rel:.0%}" if rel and rel >= 0.01 else tolerance
        words.append(
            f"expected {number(expected, unit)}" + (tolerance or (f" ± {number(abs_, unit)}" if abs_ else ""))
        )
    if at_least is not None:
        low = max(low, float(at_least))
        words.append(f"at least {number(at_least, unit)}")
    if at_most is not None:
        high = min(high, float(at_most))
        words.append(f"at most {number(at_most, unit)}")
    return low, high, ", ".join(words)


def claim(
    text: str,
    *,
    measured: Any,
    expected: Any = None,
    rel: float | None = None,
    abs: float | None = None,
    at_least: Any = None,
    at_most: Any = None,
    unit: str = "",
    source: str = "",
    if_not: str = "",
    key: str | None = None,
) -> Verdict:
    """Show a measured number against its bound, and say whether the claim holds.

    ``measured`` is a number, a one-element tensor or a :class:`effdl.bench.Ratio`, whose interval is shown
    too. ``expected`` without ``rel`` or ``abs`` must be met exactly. ``if_not`` is the sentence that tells
    a reader what a cross means on this machine. ``key`` names the claim in results; else its text does.

    Raises ValueError for a missing bound or a key used twice in one notebook, and ClaimFailed for a claim
    that does not hold under EFFDL_STRICT=1.
    """
    low, high, bound = _limits(expected, rel, abs, at_least, at_most, unit)
    value = measured if isinstance(measured, bool | int) else float(measured)
    interval = [float(measured.low), float(measured.high)] if hasattr(measured, "low") else None
    shown = number(value, unit)
    if interval:
        shown += f" [{number(interval[0])}, {number(interval[1])}]"
    result = Claim(key or slug(text), text, float(value), shown, bound, bool(low <= value <= high))
    _once(result.key, text)
    made.append(result)
    _display(result, source, if_not)
    _record(result.key, text=text, measured=value, interval=interval, unit=unit, bound=bound, source=source,
            holds=result.holds)  # fmt: skip
    if not result.holds and os.environ.get("EFFDL_STRICT") == "1":
        raise ClaimFailed(f"{text}: measured {shown}, {bound}. {if_not}".strip())
    return Verdict(result.holds)


def not_here(
    text: str,
    *,
    needs: str = "a CUDA GPU",
    published: str = "",
    source: str = "",
    unit: str = "",
    key: str | None = None,
) -> None:
    """Show what recorded machines measured for a claim that this machine cannot check.

    Use the same ``text`` (or ``key``) as the claim. Where no machine has recorded it, say so.
    """
    key = key or slug(text)
    _once(key, text)
    known = recorded(key)
    lines = [f"{text}", f"This needs {needs}, which is not here."]
    if published:
        lines.append(f"Published: {published}" + (f" ({source})" if source else "") + ".")
    for name, entry in known.items():
        lines.append(
            f"Recorded on {name} ({entry['machine']}): {number(entry['measured'], entry['unit'] or unit)}."
        )
    if not known:
        lines.append(f"Nobody has run this on {needs} yet.")
    first, *rest = (html.escape(line) for line in lines)
    publish(
        "\n    ".join([f"– {lines[0]}", *lines[1:]]), html=f"<p>– <b>{first}</b><br>{'<br>'.join(rest)}</p>"
    )
    _record(key, text=text, measured=None, unit=unit, published=published, source=source, needs=needs)


def recorded(key_or_text: str) -> dict[str, dict[str, Any]]:
    """What each recorded machine measured for a claim of this week: {"h200": {"measured": 1.7, ...}}."""
    key, found = slug(key_or_text), {}
    for path in sorted((_notebook().parent / "results").glob("*.json")):
        data = _read(path)
        for notebook in data["notebooks"].values():
            entry = notebook["claims"].get(key)
            if entry and entry.get("measured") is not None:
                found[path.stem] = {"unit": "", **entry, "machine": data["machine"]["device"]}
    return found


def _display(result: Claim, source: str, if_not: str) -> None:
    mark = TICK if result.holds else CROSS
    verdict = "holds" if result.holds else "does not hold here"
    parts = [f"measured {result.shown}", result.bound] + ([f"source: {source}"] if source else [])
    lines = [f"{mark} {result.text}", "; ".join(parts)] + ([if_not] if if_not and not result.holds else [])
    colour = "#00694b" if result.holds else "#b3261e"
    tail = f"<br><i>{html.escape(if_not)}</i>" if len(lines) == 3 else ""
    publish(
        "\n    ".join(lines),
        html=f'<p><b style="color:{colour}">{mark} Claim {verdict}.</b> {html.escape(result.text)}<br>'
        f"measured <b>{html.escape(result.shown)}</b>; {html.escape('; '.join(parts[1:]))}{tail}</p>",
    )


def _notebook() -> Path:
    """The notebook source that runs, as effdl.build and effdl.run set it."""
    return Path(os.environ.get("EFFDL_NOTEBOOK") or Path.cwd() / "interactive.md")


def _once(key: str, text: str) -> None:
    # A reader of an interactive notebook runs a cell again and again; only a run from top to bottom can
    # tell two claims with one key from one claim run twice.
    if "EFFDL_NOTEBOOK" not in os.environ:
        return
    notebook = _notebook().stem
    if (notebook, key) in _seen:
        raise ValueError(
            f"{notebook} makes two claims with the key {key!r} ({text!r}); give one of them key='...'"
        )
    _seen.add((notebook, key))


def machine() -> dict[str, Any]:
    """What a result was measured on. No host name, no user name."""
    facts = {
        "device": device.describe().rsplit(", torch", 1)[0],
        "cpu": device.cpu_model(),
        "cores": device.cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
    }
    return facts


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    if torch.version.cuda and device.device().type == "cuda":
        found |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else str(value)
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}); delete it and record the results again") from error


def _record(key: str, **entry: Any) -> None:
    name = os.environ.get("EFFDL_RECORD")
    if not name:
        return
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise ValueError(
            f"EFFDL_RECORD={name!r} names a results file; use lower-case letters, digits, - and _"
        )
    notebook = _notebook()
    folder = notebook.parent / "results"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        data = _read(path) if path.exists() else {"machine": machine(), "notebooks": {}}
        if data["machine"]["device"] != machine()["device"]:
            raise ValueError(
                f"{path.name} holds results of {data['machine']['device']}, this is {machine()['device']}; "
                "choose another EFFDL_RECORD name or delete the file"
            )
        first = len([seen for seen in _seen if seen[0] == notebook.stem]) <= 1
        if first or notebook.stem not in data["notebooks"]:
            data["notebooks"][notebook.stem] = {"claims": {}}
        page = data["notebooks"][notebook.stem]
        page |= {"date": datetime.date.today().isoformat(), "versions": versions()}
        kept = {
            name: _rounded(value)
            for name, value in entry.items()
            if value not in ("", None) or name == "measured"
        }
        page["claims"][key] = {**kept, "order": page["claims"].get(key, {}).get("order", len(page["claims"]))}
        _write(path, json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    finally:
        os.close(lock)


def _write(path: Path, text: str) -> None:
    """Write a file in one step, so that no reader ever sees half of it."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def table(week_folder: str | Path) -> str:
    """The week's claims as a Markdown table: published figure or bound, then one column per machine."""
    folder = Path(week_folder)
    files = sorted((folder / "results").glob("*.json"), key=lambda path: (path.stem != "cpu", path.stem))
    data = {path.stem: _read(path) for path in files}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for name, result in data.items():
        for notebook, page in sorted(result["notebooks"].items()):
            for key, entry in page["claims"].items():
                row = rows.setdefault(
                    (notebook, key), {"order": entry["order"], "text": entry["text"], "bound": ""}
                )
                row["bound"] = entry.get("published") or row["bound"] or entry.get("bound", "")
                if entry["measured"] is not None:
                    mark = "" if entry.get("holds", True) else f" {CROSS}"
                    row[name] = number(entry["measured"], entry.get("unit", "")) + mark
    header = ["claim", "published or bound", *data]
    lines = [header, ["---"] * len(header)]
    for _, row in sorted(rows.items(), key=lambda item: (item[0][0], item[1]["order"])):
        lines.append([row["text"], row["bound"], *(row.get(name, "") for name in data)])
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    notes = [
        f"- {name}: {result['machine']['device']}; "
        + ", ".join(f"{page} {notebook['date']}" for page, notebook in sorted(result["notebooks"].items()))
        for name, result in data.items()
    ]
    return "\n".join([body, "", *notes]) + "\n"


def write_table(week_folder: str | Path) -> None:
    """Write the table between the markers of the week's README.md. Raises ValueError if it has none."""
    readme = Path(week_folder) / "README.md"
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{readme} has no markers for the claims; add the lines {BEGIN} and {END}")
    head, _, tail = text.partition(BEGIN)
    _write(readme, f"{head}{BEGIN}\n{table(week_folder)}{END}{tail.partition(END)[2]}")


def main(week_folder: Path) -> None:
    """Write the table of claims into WEEK_FOLDER/README.md, from WEEK_FOLDER/results/*.json."""
    write_table(week_folder)
    typer.echo(f"wrote the table of claims into {week_folder / 'README.md'}")


if __name__ == "__main__":
    typer.run(main)
