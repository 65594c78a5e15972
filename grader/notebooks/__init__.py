"""From Markdown to release, and from a submission back to the course's own notebook and its run."""

from grader.examine import suite

PROGRAMS = {**suite.PROGRAMS, "notebook": "grader.notebooks.twin.workers:serve"}
"""What a zygote must know so that its workers run checks and notebooks: see `grader.sandbox.zygote.Zygote`."""
