"""The table of claims: what every week claims, its bound, and what each kind of machine recorded."""

import html
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from effdl.claims import KINDS
from effdl.claims_table import Row, recordings_of, rows_of, value_of
from effdl.sources import ROOT

HERE = Path(__file__).resolve().parent
LIMIT = r"(-?[\d.,]+(?:e[+-]?\d+)?)"
FIGURES = re.compile(rf"(at least|at most|expected) {LIMIT}")
WITHIN = re.compile(r"within ([\d.]+) %")


def write_page(page: Path, weeks: list[Path]) -> None:
    """Write the page of claims of these weeks, as Markdown."""
    machines, sections = {}, []
    for week in weeks:
        for recording in recordings_of(week):
            machines[recording["machine"]["kind"]] = recording["machine"]["type"]
    rows = {week: rows_of(week) for week in weeks}
    cpus = _by_records(rows, [kind for kind, type_ in machines.items() if type_ == "cpu"])
    gpus = _by_records(rows, [kind for kind, type_ in machines.items() if type_ != "cpu"])
    for week in weeks:
        sections += [f"(week-{int(week.name[4:6])})=", f"## Week {int(week.name[4:6])}", ""]
        sections += ["```{raw} html", _table(week.name, rows[week], cpus, gpus), "```", ""]
    text = (HERE / "pages" / "claims.md").read_text(encoding="utf-8")
    data = {week.name: {f"{row.notebook}/{row.key}": _data(row) for row in rows[week]} for week in weeks}
    text = text.replace("COUNTS", _counts(rows)).replace("CHOICE", _choice(cpus, gpus))
    # Inside a script element only this sequence could end it.
    page.write_text(
        text.replace("TABLES", "\n".join(sections)).replace("DATA", json.dumps(data).replace("</", "<\\/")),
        encoding="utf-8",
    )


def _by_records(rows: dict[Path, list[Row]], kinds: list[str]) -> list[str]:
    """Kinds of machines, first the one that recorded most."""
    counts = Counter(kind for group in rows.values() for row in group for kind in row.recorded)
    return sorted(kinds, key=lambda kind: (-counts[kind], kind))


def _counts(rows: dict[Path, list[Row]]) -> str:
    lines = ["| week | " + " | ".join(KINDS) + " | all |", "|---|" + "---|" * (len(KINDS) + 1)]
    for week, group in rows.items():
        counts = [sum(row.kind == kind for row in group) for kind in KINDS]
        lines.append(
            f"| [Week {int(week.name[4:6])}]({week.name}/index.md) | {' | '.join(map(str, counts))} | {len(group)} |"
        )
    everything = [row for group in rows.values() for row in group]
    counts = [sum(row.kind == kind for row in everything) for kind in KINDS]
    return "\n".join([*lines, f"| all | {' | '.join(map(str, counts))} | {len(everything)} |"])


def _choice(cpus: list[str], gpus: list[str]) -> str:
    """Which machine the CPU column and the GPU column show; a list of one needs no choice."""

    def select(name: str, kinds: list[str]) -> str:
        options = "".join(f"<option>{html.escape(kind)}</option>" for kind in kinds)
        return f'<label>{name} <select id="{name.lower()}-kind">{options}</select></label>' if kinds else ""

    none = "" if gpus else "<span>No GPU has been recorded yet: the column GPU is empty.</span>"
    return select("CPU", cpus) + select("GPU", gpus) + none


def _table(week: str, rows: list[Row], cpus: list[str], gpus: list[str]) -> str:
    heads = ["claim", "kind", "published", "bound", "CPU", "GPU", "your machine", "measured over bound"]
    lines = [f'<div class="table-wrapper"><table class="docutils claims" data-week="{week}"><thead><tr>']
    lines += [f'<th scope="col">{head}</th>' for head in heads] + ["</tr></thead><tbody>"]
    for row in rows:
        key = html.escape(f"{row.notebook}/{row.key}")
        link = f"{week}/{row.notebook}.html"
        lines.append(
            f'<tr data-key="{key}" data-kind="{row.kind}">'
            f'<th scope="row"><a href="{link}">{html.escape(row.text)}</a></th>'
            f"<td>{row.kind}</td><td>{html.escape(row.published)}</td><td>{html.escape(row.bound)}</td>"
            f'<td class="cpu">{_first(row, cpus)}</td><td class="gpu">{_first(row, gpus)}</td>'
            '<td class="yours"></td><td class="plot"></td></tr>'
        )
    return "".join([*lines, "</tbody></table></div>"])


def _first(row: Row, kinds: list[str]) -> str:
    """What the first of these kinds recorded: the page's choice before a reader makes another."""
    return html.escape(value_of(row.recorded.get(kinds[0]))) if kinds else ""


def _data(row: Row) -> dict[str, Any]:
    """What the page's script needs of a claim: the interval of its bound; each machine's value, shown and plain."""
    shown = {
        kind: {"shown": value_of(entry), "value": entry["measured"]}
        for kind, entry in row.recorded.items()
        if "holds" in entry
    }
    return {"low": limits(row.bound)[0], "high": limits(row.bound)[1], "recorded": shown}


def limits(bound: str) -> tuple[float | None, float | None]:
    """The interval that a bound names in words, None where it has no such end.

    >>> limits("at least 2x"), limits("expected 4x within 25 %")
    ((2.0, None), (3.0, 5.0))
    """
    low = high = None
    share = WITHIN.search(bound)
    for word, figure in FIGURES.findall(bound):
        value = float(figure.rstrip(",.").replace(",", ""))
        if word == "at least":
            low = value
        elif word == "at most":
            high = value
        else:
            slack = abs(value) * float(share[1]) / 100 if share else 0.0
            low, high = value - slack, value + slack
    return low, high


def weeks() -> list[Path]:
    """The folders of all weeks, in order."""
    return sorted(ROOT.glob("week[0-9][0-9]_*"))
