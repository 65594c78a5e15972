"""nbgrader's formgrader, held to one course, and to files of a submission that a browser does not run.

Formgrader 0.9.6 runs the `nbgrader_config.py` of any folder that a link names, serves any file of the course that
an address leads to under its own name, and writes names out of an address into its pages.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from pathlib import Path
from typing import Any

from grader.course import course_around
from grader.safe.files import content_type

_MODULE = "nbgrader.server_extensions.formgrader.handlers"
_NO_NAME = re.compile(r"[<>\"'&\\\x00-\x1f\x7f]")  # nbgrader's templates write names into pages and scripts
_POLICY = "sandbox; default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'"


def guard() -> None:
    """Change formgrader in this process, where it is a Jupyter server; more often than once does no harm."""
    if _MODULE not in sys.modules and "jupyter_server" not in sys.modules:
        return  # a command; to import formgrader takes a second
    from nbgrader.server_extensions.formgrader import base, handlers

    if getattr(base, "guarded_by_grader", False):
        return
    base.guarded_by_grader = True
    handlers.FormgraderHandler.get = _own_course(handlers.FormgraderHandler.get)
    base.BaseHandler.prepare = _plain_names(base.BaseHandler.prepare)
    files = handlers.SubmissionFilesHandler
    files.parse_url_path = _parse_url_path
    files.validate_absolute_path = _validate_absolute_path
    files.get_content_type = _content_type
    files.set_extra_headers = _set_extra_headers


def _own_course(get: Any) -> Any:
    @functools.wraps(get)
    def get_own(self: Any) -> Any:
        path = self.get_argument("path", "")
        own = Path(self.coursedir.root).resolve()
        if not path:
            return get(self)
        wanted = Path(path).resolve()
        if wanted == own:
            return self.redirect(f"{self.base_url}/formgrader/manage_assignments")
        # Jupyter may have been started above the course: then the first one is its own from here on.
        configured = any((own / f"nbgrader_config.{ending}").is_file() for ending in ("py", "json"))
        if not configured and course_around(wanted) is None:
            return get(self)
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        return self.finish(
            f"This formgrader shows {own}, and takes no configuration from {wanted}. "
            "For another course of yours, start Jupyter in its folder.\n"
        )

    return get_own


def _plain_names(prepare: Any) -> Any:
    @functools.wraps(prepare)
    async def prepare_plain(self: Any) -> None:
        from nbgrader.server_extensions.formgrader import handlers
        from tornado.web import HTTPError

        names = [*self.path_args, *self.path_kwargs.values()]
        in_a_page = not isinstance(self, handlers.SubmissionFilesHandler)
        if in_a_page and any(_NO_NAME.search(name) for name in names if isinstance(name, str)):
            raise HTTPError(404)
        if (done := prepare(self)) is not None:
            await done

    return prepare_plain


def _parse_url_path(self: Any, url_path: str) -> str:
    """Return the path within the graded submission, which becomes the only folder that is served."""
    from nbgrader.api import MissingEntry
    from tornado.web import HTTPError

    identity, _, path = url_path.lstrip("/").partition("/")
    try:
        submission = self.gradebook.find_submission_notebook_by_id(identity)
    except MissingEntry:
        raise HTTPError(404) from None
    folders = self.coursedir
    graded = folders.format_path(
        folders.autograded_directory, submission.student.id, submission.assignment.assignment.name
    )
    self.root = os.path.realpath(graded)
    return path


def _validate_absolute_path(self: Any, root: str, absolute_path: str) -> str:
    """Return the path where it is a regular file of the submission; raises HTTPError 404 otherwise."""
    from tornado.web import HTTPError

    path = Path(absolute_path)
    if Path(os.path.realpath(path)) != path or not path.is_relative_to(root) or not path.is_file():
        raise HTTPError(404)
    return absolute_path


def _content_type(self: Any) -> str:
    if self.absolute_path.lower().endswith(".svg"):  # the course's own; a student's has another name by now
        return "image/svg+xml"
    return content_type(self.absolute_path) or "application/octet-stream"


def _set_extra_headers(self: Any, path: str) -> None:
    self.set_header("Content-Security-Policy", _POLICY)
    self.set_header("X-Content-Type-Options", "nosniff")
    if not content_type(path):
        self.set_header("Content-Disposition", "attachment")
