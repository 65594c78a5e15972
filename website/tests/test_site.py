"""What the built pages hold, and what they must not."""

import os
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest

from effdl.sources import ROOT
from grader.course import Course
from grader.steps.secrets import secrets_of, squeeze
from website.build import SiteError, build
from website.layout import LINK, lay_out

LONG = 40
"""Characters of a line of code that stands nowhere else by chance."""
START = 12


def lines_of(text: str) -> set[str]:
    """Lines that are long enough to tell where they come from."""
    return {line for line in map(squeeze, text.splitlines()) if len(line) >= LONG}


def those_in(text: str, strings: set[str]) -> set[str]:
    """The strings that a text holds. One pass over the text, for thousands of strings in megabytes."""
    by_start: dict[str, list[str]] = {}
    for string in strings:
        by_start.setdefault(string[:START], []).append(string)
    short = {string for string in strings if len(string) < START}
    found = {string for string in short if string in text}
    for at in range(len(text) - START + 1):
        for string in by_start.get(text[at : at + START], ()):
            if text.startswith(string, at):
                found.add(string)
    return found


def public_text(release: Path) -> str:
    """All that students may read: what was released, and the repository's weeks and helpers."""
    files = [
        *release.rglob("*.py"),
        *release.rglob("*.toml"),
        *release.rglob("*.ipynb"),
        *release.rglob("*.proto"),
    ]
    for pattern in (
        "*.md",
        "effdl/**/*.py",
        "effdl/**/*.md",
        "week*/**/*.py",
        "week*/**/*.md",
        "grader/**/*.py",
    ):
        files += ROOT.glob(pattern)
    files += [ROOT / "assignments" / "course.toml"]
    texts = []
    for path in files:
        if path.suffix == ".ipynb":
            texts += [cell.source for cell in nbformat.read(path, as_version=4).cells]
        else:
            texts.append(path.read_text(encoding="utf-8"))
    return squeeze(" ".join(texts))


def secret_strings(course: Path) -> set[str]:
    """Whole solutions, model answers and names of hidden checks; and every line that only a secret file has."""
    assignments = Course.load(course).assignments.values()
    found = {text for assignment in assignments for _, text in secrets_of(assignment)}
    public, lines = public_text(course / "release"), set()
    for path in (course / "source").rglob("*"):
        if path.suffix in (".py", ".toml", ".md"):
            lines |= lines_of(path.read_text(encoding="utf-8"))
    return found | (lines - those_in(public, lines))


def words_of(page) -> str:
    return squeeze(page.get_text())


def test_no_page_gives_away_a_solution_or_a_hidden_check(site, pages, course):
    secrets = secret_strings(course)
    assert len(secrets) > 3000  # solutions, hidden checks, right and wrong ones of twelve parts
    texts = {name: words_of(page) for name, page in pages.items()}
    texts |= {
        path.relative_to(site).as_posix(): squeeze(path.read_text(encoding="utf-8", errors="replace"))
        for path in site.rglob("*")
        if path.suffix in (".js", ".json", ".txt", ".xml", ".inv")
    }
    told = {secret: name for name, text in texts.items() for secret in those_in(text, secrets)}
    assert told == {}


def test_a_solution_on_a_page_would_be_found(pages, course):
    """The search above reads pages as they are written: highlighted code is cut into a hundred elements."""
    released = course / "release" / "hw1_distributed" / "allreduce.py"
    page = pages["homework/hw1_distributed/part2_data_parallel.html"]
    lines = lines_of(released.read_text(encoding="utf-8"))
    assert lines
    assert [line for line in lines if line not in words_of(page)] == []


def test_the_search_finds_what_a_text_holds():
    assert those_in(
        "a short one, and a long sentence", {"short", "a long sentence", "long sentences", "none"}
    ) == {
        "short",
        "a long sentence",
    }


def test_every_part_of_the_homework_has_its_page_and_its_points(pages, course):
    for assignment in Course.load(course).assignments.values():
        front = words_of(pages[f"homework/{assignment.name}/index.html"])
        for part in assignment.parts.values():
            assert f"homework/{assignment.name}/{part.notebook}.html" in pages
            assert part.title in front


def test_every_picture_is_described(pages):
    pictures = [(name, image) for name, page in pages.items() for image in page.find_all("img")]
    assert len(pictures) > 10
    assert [(name, image["src"]) for name, image in pictures if not image.get("alt", "").strip()] == []


def test_a_picture_has_the_words_that_the_notebook_gave_it(pages):
    notebook = nbformat.read(ROOT / "week01_intro" / "lecture.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    words = [one["metadata"]["image/png"]["alt"] for one in outputs if "image/png" in one.get("data", {})]
    assert [image["alt"] for image in pages["week01_intro/lecture.html"].select("article img")] == words


def test_links_and_anchors_lead_somewhere(site, pages):
    ids = {name: {tag["id"] for tag in page.find_all(id=True)} for name, page in pages.items()}
    broken = []
    for name, page in pages.items():
        for tag, attribute in (("a", "href"), ("link", "href"), ("script", "src"), ("img", "src")):
            for element in page.find_all(tag, {attribute: True}):
                target = element[attribute]
                if target.startswith(("http:", "https:", "mailto:", "data:", "javascript:")):
                    continue
                path, _, anchor = unquote(target).partition("#")
                path = path.partition("?")[0]
                place = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
                if not (site / place).is_file() or (anchor and place in ids and anchor not in ids[place]):
                    broken.append((name, target))
    assert broken == []


def test_a_week_leads_to_its_simulators_and_to_no_others(pages):
    links = [element["href"] for element in pages["week01_intro/index.html"].select("article a[href]")]
    assert [link for link in links if "simulators/" in link] == ["../simulators/allocator.html"]


def test_no_page_names_a_script_style_or_picture_of_another_machine(site, pages):
    wrong = []
    for name, page in pages.items():
        for tag, attribute in (("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src")):
            wrong += [
                (name, element[attribute])
                for element in page.find_all(tag, {attribute: True})
                if element[attribute].startswith(("http:", "https:", "//"))
                and element.get("rel") != ["canonical"]
            ]
    styles = {path.name: path.read_text(encoding="utf-8") for path in site.rglob("*.css")}
    wrong += [(name, "url(http") for name, text in styles.items() if "url(http" in text.replace('"', "")]
    assert wrong == []


def test_no_column_has_a_heading_without_words(pages):
    empty = [
        (name, str(head))
        for name, page in pages.items()
        for head in page.find_all("th")
        if not head.text.strip()
    ]
    assert empty == []


def test_cells_that_only_draw_are_folded(pages):
    page = pages["week01_intro/lecture.html"]
    folded = page.select("div.tag_hide-input details")
    assert len(folded) > 5
    assert all(not details.has_attr("open") for details in folded)


def test_formulas_are_mathml_and_need_no_script(pages):
    page = pages["week01_intro/lecture_2_models.html"]
    assert page.find_all("math")
    assert [
        script["src"] for script in page.find_all("script", src=True) if "mathjax" in script["src"].lower()
    ] == []


def test_a_week_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there are weeks 1 to 10"):
        lay_out(tmp_path / "pages", [11])


def test_a_folder_of_other_things_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SiteError, match="holds something that is no site"):
        build(tmp_path, [1])
    assert (tmp_path / "thesis.tex").exists()


def test_a_link_to_a_file_without_a_page_becomes_words(tmp_path):
    lay_out(tmp_path / "pages", [1])
    text = (tmp_path / "pages" / "topics.md").read_text(encoding="utf-8")
    links = {target for _, target in LINK.findall(text)}
    assert "week01_intro/lecture.ipynb" in links
    assert all(link.startswith("week01_intro/") for link in links)
