"""Names a kernel that does not exist and one in another language.

Must: earn nothing, and stop nobody else's grading; the course says which kernel runs.
"""

FAMILY = "harm"


def edit(notebook, cells):
    notebook["metadata"]["kernelspec"] = {
        "name": "../../evil",
        "language": "bash",
        "display_name": "<b>x</b>",
    }
    notebook["metadata"]["language_info"] = {"name": "bash"}
