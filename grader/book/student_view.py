"""A graded notebook as its student may see it, for nbgrader's feedback."""

from __future__ import annotations

from typing import Any

from nbgrader.preprocessors import NbGraderPreprocessor

from grader.notebooks import verdicts


class StudentView(NbGraderPreprocessor):
    """Marks what still waits for a person, and leaves out the outputs that only carry a score to nbgrader."""

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        from nbgrader.api import Gradebook

        names = resources["nbgrader"]
        with Gradebook(names["db_url"]) as gradebook:
            submitted = gradebook.find_submission_notebook(
                names["notebook"], names["assignment"], names["student"]
            )
            waiting = {grade.name for grade in submitted.grades if grade.needs_manual_grade}
        names["waiting"] = bool(waiting)
        for cell in nb.cells:
            role = cell.metadata.get("nbgrader", {})
            if role.get("grade_id") in waiting:
                role["waiting"] = True
            if cell.get("outputs") and verdicts.CARRIER in cell.outputs[0].get("metadata", {}):
                del cell.outputs[1:]
        return nb, resources
