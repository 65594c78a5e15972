"""What being late costs: nbgrader's penalties, and the policy of course.toml as one of its plugins."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from nbgrader.plugins import LateSubmissionPlugin
from nbgrader.preprocessors import AssignLatePenalties
from traitlets.config import Config

from grader.course import Course


def late_penalty(config: Config, student: str, score: float, seconds: float) -> float | None:
    """Return the points that a notebook with this score loses under the course's plugin, None for none at all."""
    assigner = AssignLatePenalties(config=config)
    assigner.init_plugin()
    plugin: Any = assigner.plugin_inst  # of a class that config names
    penalty = plugin.late_submission_penalty(student, score, seconds)
    notebook: Any = SimpleNamespace(score=score)  # all that is asked of it
    return None if penalty is None else assigner._check_late_penalty(notebook, penalty)


class CourseLatePenalty(LateSubmissionPlugin):
    """The late policy of course.toml; see `policy_penalty`."""

    def late_submission_penalty(
        self, student_id: str, score: float, total_seconds_late: float
    ) -> float | None:
        """Return the points to take off a notebook that scored `score`, that long after the deadline."""
        course = Course.load(self.config.CourseDirectory.root)
        return policy_penalty(course.late, score, total_seconds_late)


def policy_penalty(policy: dict[str, Any], score: float, seconds: float) -> float | None:
    """Return the points that `policy` takes off `score` for `seconds` of delay, None where it takes none.

    After `grace_minutes`, each day begun costs `penalty_per_day` of the score; after `max_days` all is lost.
    """
    seconds -= 60 * policy.get("grace_minutes", 0)
    if seconds <= 0 or not policy:
        return None
    days = math.ceil(seconds / 86400)
    if days > policy.get("max_days", math.inf):
        return score
    return score * min(1.0, days * policy.get("penalty_per_day", 0.0))
