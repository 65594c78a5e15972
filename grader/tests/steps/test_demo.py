"""The demo is the main job from end to end: hand in, collect, rebuild, examine, record, return."""

import csv
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from grader.course import Course
from grader.demo.__main__ import HOMEWORK, PART, ROSTER, read_class
from grader.examine.checks import load_checks


def test_every_student_of_the_demo_gets_what_honest_work_earns_and_nothing_leaks(tmp_path):
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "grader.demo", "--no-lab", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=1800,  # only to end what hangs
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    students = read_class()
    assert len(students) >= 12
    for name in students:
        assert re.search(rf"^ *{name} ", done.stdout, re.M)
    part = Course.load(out / "course").assignment(HOMEWORK).part(PART)
    secrets = [check.name for check in load_checks(part.checks_hidden, hidden=True)]
    for name in students:
        (page,) = (out / "course" / "feedback" / name / HOMEWORK).glob("*.html")
        text = page.read_text(encoding="utf-8")
        assert not [secret for secret in secrets if secret in text]
    (address,) = re.findall(r"^The class on one page, for your browser: (file://\S+)$", done.stdout, re.M)
    page = Path(unquote(urlsplit(address).path)).read_text(encoding="utf-8")
    with ROSTER.open(encoding="utf-8", newline="") as file:
        named = {
            row["id"]: f"{row['first_name']} {row['last_name']} ({row['id']})" for row in csv.DictReader(file)
        }
    for name in students:
        assert named[name] in page
    assert f"<p>{named['pavel']}</p>" in page  # who handed in nothing
    for picture in ("grades.png", "grades.svg"):
        assert (out / picture).stat().st_size > 1000
