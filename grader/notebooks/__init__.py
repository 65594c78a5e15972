"""From Markdown to release, and from a submission back to the course's own notebook and its run."""

from grader.examine import suite

NOTEBOOK = {"notebook": "grader.notebooks.twin.workers:serve"}
"""What a zygote must know so that its workers run plain notebooks: see `grader.sandbox.zygote.Zygote`."""

PROGRAMS = {**suite.PROGRAMS, **NOTEBOOK}
"""And checks besides."""
