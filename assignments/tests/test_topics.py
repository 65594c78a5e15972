"""The index of topics holds: its links lead somewhere, and what it calls graded is."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| (?!topic|--)(.+?) \| (.+?) \| (.*?) ?\|$",
    (ROOT / "TOPICS.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
PLACE = re.compile(r"\[week \d+, \w+\]\(([\w/]+)\.ipynb\): (.+?)(?=; \[week|$)")


def test_the_index_was_read():
    assert len(ROWS) > 50


@pytest.mark.parametrize(("topic", "taught"), [(row[0], row[1]) for row in ROWS])
def test_a_topic_is_taught_where_the_index_says(topic, taught):
    places = PLACE.findall(taught)
    assert places
    for page, heading in places:
        source = ROOT / f"{page}.md"
        assert source.is_file(), f"{topic}: {page}.md does not exist"
        headings = re.findall(r"^#{2,3} (.+)$", source.read_text(encoding="utf-8"), re.MULTILINE)
        assert heading in headings, f"{topic}: {page}.md has no heading {heading!r}"


def test_items_that_the_index_calls_graded_are():
    course = tomllib.loads((ROOT / "assignments" / "course.toml").read_text(encoding="utf-8"))
    graded = {
        name.partition("_")[0]: {item for part in one.get("parts", {}).values() for item in part["items"]}
        for name, one in course["assignments"].items()
    }
    named = {homework: set() for homework in graded}
    for topic, _, cell in ROWS:
        for homework, items in re.findall(r"(hw\d) ((?:`\w+`(?:, )?)+)", cell):
            found = set(re.findall(r"`(\w+)`", items))
            assert found <= graded[homework], f"{topic}: {homework} has no item {found - graded[homework]}"
            named[homework] |= found
    # And the other way round: nothing is graded of which the index does not say where it is taught.
    assert {homework: graded[homework] - named[homework] for homework in graded} == {
        homework: set() for homework in graded
    }
