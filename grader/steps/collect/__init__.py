"""Brings submissions into the course: from a folder, a zip file (of folders or of zip files), or git.

Everything collected was made by a stranger. Only regular files are taken, under a checked student id and within
limits; what is left out or refused is said in a sentence.
"""

from grader.steps.collect.folders import NAMES, collect
from grader.steps.collect.git import collect_git
from grader.steps.collect.room import Collected

__all__ = ["NAMES", "Collected", "collect", "collect_git"]
