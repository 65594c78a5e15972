"""The claims of a week as a table in its README, one column for each kind of machine that recorded them.

``python -m effdl.claims_table week01_intro`` writes it.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from effdl import results
from effdl.claims import KINDS, MACHINE, number
from effdl.notebook import CROSS
from effdl.sources import claims_of, sources

BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"


@dataclass
class Row:
    """One claim of a page, and what each kind of machine recorded for it.

    ``published`` is the figure of a publication with its source, ``bound`` what the claim must meet; ``recorded``
    maps the name of a kind of machine to the entry in its results.
    """

    notebook: str
    key: str
    kind: str
    text: str = ""
    depends: str = "?"
    bound: str = ""
    published: str = ""
    order: int = 0
    recorded: dict[str, dict[str, Any]] = field(default_factory=dict)


def recordings_of(week_folder: str | Path) -> list[dict[str, Any]]:
    """What each kind of machine recorded in a week, in the order of the files' names."""
    return [results.read(path) for path in sorted((Path(week_folder) / "results").glob("*.json"))]


def rows_of(week_folder: str | Path) -> list[Row]:
    """The claims that the week's pages make now, in the order of the pages.

    A claim that a page no longer makes has no row, whoever recorded it.
    """
    stated = {source.stem: claims_of(source) for source in sources([Path(week_folder)])}
    rows: dict[tuple[str, str], Row] = {}
    for result in recordings_of(week_folder):
        for notebook, page in sorted(result["notebooks"].items()):
            for key, entry in page["claims"].items():
                made_by = next((one for one in stated.get(notebook, ()) if one.named(key)), None)
                if made_by is None:
                    continue
                row = rows.setdefault((notebook, key), Row(notebook, key, made_by.kind))
                # What needs something that a machine lacks depends on the machine.
                row.depends = entry.get("depends", MACHINE if "needs" in entry else row.depends)
                row.order = entry["order"]
                row.text = entry["text"] if "*" in made_by.text else made_by.text
                row.published = _published(entry) or row.published
                row.bound = row.bound or entry.get("bound", "")
                row.recorded[result["machine"]["kind"]] = entry
    return sorted(rows.values(), key=lambda row: (row.notebook, row.order, row.key))


def value_of(entry: dict[str, Any] | None) -> str:
    """A recorded number for a reader, with a cross where the claim did not hold; empty where nothing was measured."""
    if entry is None or "holds" not in entry:
        return ""
    value = math.nan if entry["measured"] is None else entry["measured"]
    return number(value, entry.get("unit", "")) + ("" if entry["holds"] else f" {CROSS}")


def table(week_folder: str | Path) -> str:
    """The week's claims as a Markdown table: kind, published figure or bound, then one column per kind of machine."""
    recordings, rows, notes = recordings_of(week_folder), rows_of(week_folder), []
    for result in recordings:
        pages = sorted(result["notebooks"].items())
        dates = ", ".join(f"{notebook} on {page['date']}" for notebook, page in pages)
        torches = ", ".join(sorted({page["versions"]["torch"] for _, page in pages}))
        notes.append(f"- **{result['machine']['kind']}**: torch {torches}; {dates}")
    kinds = [result["machine"]["kind"] for result in recordings]
    # A week whose claims nobody has run on a GPU says so in a column of its own.
    none = ["GPU (nobody has run it)"] if all(one["machine"]["type"] == "cpu" for one in recordings) else []
    fixed = ["claim", "kind", "depends on", "published or bound"]
    lines = [[*fixed, *kinds, *none], ["---"] * (len(fixed) + len(kinds) + len(none))]
    for row in rows:
        cells = [value_of(row.recorded.get(kind)) for kind in kinds] + [""] * len(none)
        lines.append([row.text, row.kind, row.depends, row.published or row.bound, *cells])
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    notes.append(f"- {CROSS}: the claim did not hold there; an empty cell: nobody ran it there")
    notes.append("- a machine that has no column: `make record` adds it")
    return "\n".join([_counted(rows), "", *body, "", *notes]) + "\n"


def _counted(rows: list[Row]) -> str:
    """How many claims of each kind each page makes: `lecture: 12 measured, 2 simulated; seminar: 9 measured`."""
    pages = []
    for page in sorted({row.notebook for row in rows}):
        kinds = [row.kind for row in rows if row.notebook == page]
        pages.append(
            f"{page}: " + ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS if kind in kinds)
        )
    return "Claims by kind: " + "; ".join(pages) + "."


def _published(entry: dict[str, Any]) -> str:
    source = f" ({entry['source']})" if "source" in entry else ""
    return entry["published"] + source if "published" in entry else ""


def write_table(week_folder: str | Path) -> None:
    """Write the table between the markers of the week's README.md. Raises ValueError if it has none."""
    readme = Path(week_folder) / "README.md"
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{readme} has no place for the claims; add the lines {BEGIN} and {END}")
    head, _, tail = text.partition(BEGIN)
    results.write(readme, f"{head}{BEGIN}\n{table(week_folder)}{END}{tail.partition(END)[2]}")


def main(week_folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)]) -> None:
    """Write the table of claims into WEEK_FOLDER/README.md, from WEEK_FOLDER/results/*.json."""
    try:
        write_table(week_folder)
    except (ValueError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(f"wrote the table of claims into {week_folder / 'README.md'}")


if __name__ == "__main__":
    typer.run(main)
