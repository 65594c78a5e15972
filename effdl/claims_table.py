"""The claims of a week as a table in its README, one column for each kind of machine that recorded them.

``python -m effdl.claims_table week01_intro`` writes it.
"""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from effdl import results
from effdl.claims import KINDS, MACHINE, number
from effdl.notebook import CROSS
from effdl.sources import claims_of, sources

BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"


def table(week_folder: str | Path) -> str:
    """The week's claims as a Markdown table: kind, published figure or bound, then one column per kind of machine.

    A claim that a page no longer makes has no row, whoever recorded it.
    """
    recordings = [results.read(path) for path in sorted((Path(week_folder) / "results").glob("*.json"))]
    stated = {source.stem: claims_of(source) for source in sources([Path(week_folder)])}
    rows: dict[tuple[str, str], dict[str | int, Any]] = {}  # a number is a column
    notes = []
    for column, result in enumerate(recordings):
        pages = sorted(result["notebooks"].items())
        dates = ", ".join(f"{notebook} on {page['date']}" for notebook, page in pages)
        torches = ", ".join(sorted({page["versions"]["torch"] for _, page in pages}))
        notes.append(f"- **{result['machine']['kind']}**: torch {torches}; {dates}")
        for notebook, page in pages:
            for key, entry in page["claims"].items():
                made_by = next((one for one in stated.get(notebook, ()) if one.named(key)), None)
                if made_by is None:
                    continue
                row = rows.setdefault((notebook, key), {"bound": "", "depends": "?", "kind": made_by.kind})
                # What needs something that a machine lacks depends on the machine.
                row["depends"] = entry.get("depends", MACHINE if "needs" in entry else row["depends"])
                row["order"] = entry["order"]
                row["text"] = entry["text"] if "*" in made_by.text else made_by.text
                row["bound"] = _published(entry) or row["bound"] or entry.get("bound", "")
                if "holds" in entry:
                    value = math.nan if entry["measured"] is None else entry["measured"]
                    row[column] = number(value, entry.get("unit", "")) + (
                        "" if entry["holds"] else f" {CROSS}"
                    )
    columns = [result["machine"]["kind"] for result in recordings]
    # A week whose claims nobody has run on a GPU says so in a column of its own.
    if all(result["machine"]["type"] == "cpu" for result in recordings):
        columns.append("GPU (nobody has run it)")
    fixed = ["claim", "kind", "depends on", "published or bound"]
    lines = [[*fixed, *columns], ["---"] * (len(fixed) + len(columns))]
    for _, row in sorted(rows.items(), key=lambda item: (item[0][0], item[1]["order"], item[0][1])):
        cells = (row.get(column, "") for column in range(len(columns)))
        lines.append([row["text"], row["kind"], row["depends"], row["bound"], *cells])
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    notes.append(f"- {CROSS}: the claim did not hold there; an empty cell: nobody ran it there")
    notes.append("- a machine that has no column: `make record` adds it")
    return "\n".join([_counted(rows), "", *body, "", *notes]) + "\n"


def _counted(rows: dict[tuple[str, str], dict[str | int, Any]]) -> str:
    """How many claims of each kind each page makes: `lecture: 12 measured, 2 simulated; seminar: 9 measured`."""
    pages = []
    for page in sorted({notebook for notebook, _ in rows}):
        kinds = [row["kind"] for (notebook, _), row in rows.items() if notebook == page]
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
