"""What `nbgrader`, formgrader and `grader` read in this course root. The settings follow from course.toml."""

from pathlib import Path

from grader.book.nbgrader_plugin import configure

configure(get_config(), Path(__file__).parent)  # noqa: F821  (nbgrader defines get_config)
