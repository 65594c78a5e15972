"""The service: an upload in, a table out. See `line.py` for who waits, `tokens.py` for who may ask."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException, Query, Request
from fastapi.responses import PlainTextResponse
from starlette.requests import ClientDisconnect

from grader.course import Assignment, Course, Part
from grader.examine.examiner import Examiner
from grader.sandbox.build import SandboxError
from grader.steps.collect.archives import unzip
from grader.steps.collect.room import Refused, Room
from grader.steps.serve.line import Full, Line, Run
from grader.steps.serve.table import passed, table
from grader.steps.serve.tokens import student_of
from grader.tree import MAX_BYTES

log = logging.getLogger(__name__)

UPLOAD_SECONDS = 60.0
LONGEST_WAIT = 55.0  # seconds that a question for a table may take; who has none then asks again
MOST_WAITS = 4  # questions of one student's that wait at one time; others are answered at once
_VERDICT = "X-Grader-Verdict"


class Service:
    """What the service holds: a course, an examiner, the line, and a folder for uploads."""

    def __init__(
        self, course: Course, key: bytes, examiner: Examiner, *, jobs: int, per_hour: int, gpus: bool | None
    ):
        """Begin; `gpus` keeps the parts that ask for a GPU (True), those that do not (False), or all (None)."""
        self.course, self.key, self._examiner, self._gpus = course, key, examiner, gpus
        self.folder = Path(tempfile.mkdtemp(prefix="grader-serve-"))
        self.line = Line(self.examine, jobs=jobs, per_hour=per_hour)
        self.waits: Counter[str] = Counter()  # by student: questions that wait

    def close(self) -> None:
        """Wait for what runs, and delete what waits."""
        self.line.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def parts(self, assignment: Assignment) -> list[Part]:
        """Return the parts of an assignment that are examined here."""
        return [
            part for part in assignment.parts.values() if self._gpus is None or bool(part.gpus) == self._gpus
        ]

    def examine(self, run: Run) -> tuple[str, bool]:
        """Unpack an upload within the limits of any submission, and run the public checks of its parts."""
        assignment = self.course.assignment(run.assignment)
        expected = {
            name for part in assignment.parts.values() for name in (*part.files, f"{part.notebook}.ipynb")
        }
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            try:
                notes = unzip(run.upload, folder, Room(expected))
            except Refused as why:
                return f"Not examined: {why}\n", False
            reports, missing = [], []
            for part in self.parts(assignment):
                try:
                    reports.append((part, self._examiner.examine(part, folder, hidden=False, skip=True)))
                except SandboxError as error:
                    if not part.gpus:
                        raise
                    missing.append(f"Part {part.number} was not examined, it needs a GPU: {error}\n")
            if reports:
                reports[0][1].notes[:0] = notes
            all_passed = passed(reports) and not missing
            log.info("%s, %s: %s", run.student, assignment.name, "pass" if all_passed else "fail")
            return "\n".join([table(assignment.name, reports), *missing]), all_passed
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def application(service: Service) -> FastAPI:
    """Return the service as an application of ASGI."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    # No pages that describe it: they load scripts from elsewhere.
    app = FastAPI(title="grader", lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)

    def asks(authorization: str) -> str:
        scheme, _, told = authorization.partition(" ")
        student = student_of(service.key, told.strip()) if scheme.lower() == "bearer" else None
        if student is None:
            raise HTTPException(401, "no token of a student of this course; ask your instructor for yours")
        return student

    @app.exception_handler(HTTPException)
    async def says(_: Request, error: HTTPException) -> PlainTextResponse:
        return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)

    @app.post("/submissions/{assignment}", status_code=202)
    async def submit(
        assignment: str, request: Request, authorization: Annotated[str, Header()] = ""
    ) -> PlainTextResponse:
        """Take a zip file of a student's folder; answers with the path of the run."""
        student = asks(authorization)
        entry = service.course.assignments.get(assignment)
        if entry is None or not service.parts(entry):
            there = ", ".join(name for name, one in service.course.assignments.items() if service.parts(one))
            raise HTTPException(404, f"no such assignment here; there are: {there}")
        try:
            with service.line.uploading(student):
                upload, size = await _keep(request, service.folder)
                run = Run(student, assignment, upload, size)
                try:
                    service.line.enter(run)
                except Full:
                    upload.unlink()
                    raise
        except Full as full:
            raise HTTPException(full.status, str(full), {"Retry-After": str(full.again)}) from None
        return PlainTextResponse(f"/runs/{run.name}\n", 202, {"Location": f"/runs/{run.name}"})

    @app.get("/runs/{name}")
    async def read(
        name: str,
        request: Request,
        authorization: Annotated[str, Header()] = "",
        wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT)] = 0,
    ) -> PlainTextResponse:
        """Answer with the table of a run, or after `wait` seconds with where it stands, and status 202."""
        student = asks(authorization)
        if service.waits[student] >= MOST_WAITS:
            wait = 0  # all connections could be theirs, and nobody else would be heard
        service.waits[student] += 1
        try:
            return await answer(request, name, student, wait)
        finally:
            service.waits[student] -= 1

    async def answer(request: Request, name: str, student: str, wait: float) -> PlainTextResponse:
        end = asyncio.get_running_loop().time() + wait
        while (found := service.line.find(name, student)) is not None:
            run, before = found
            if run.ended.is_set():
                verdict = "pass" if run.passed else "fail"
                return PlainTextResponse(run.table, 200, {_VERDICT: verdict}, "text/markdown")
            # A job that was cancelled must not count as waiting until its time is over.
            if asyncio.get_running_loop().time() >= end or await request.is_disconnected():
                told = "running\n" if run.state == "running" else f"waiting, {before} before it\n"
                return PlainTextResponse(told, 202, {"Retry-After": "5"})
            await asyncio.sleep(0.1)
        raise HTTPException(404, "no such run of yours; push again")

    return app


async def _keep(request: Request, folder: Path) -> tuple[Path, int]:
    """Write the upload into a file of its own; return it and its bytes.

    Raises HTTPException for one that is too large or too slow.
    """
    descriptor, name = tempfile.mkstemp(dir=folder, suffix=".zip")
    path, size = Path(name), 0
    try:
        with open(descriptor, "wb") as file:
            async with asyncio.timeout(UPLOAD_SECONDS):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > MAX_BYTES:
                        raise HTTPException(
                            413, f"more than {MAX_BYTES >> 20} MiB; send what was asked for only"
                        )
                    file.write(chunk)
    except TimeoutError:
        path.unlink()
        raise HTTPException(408, f"the upload took longer than {UPLOAD_SECONDS:.0f} s") from None
    except ClientDisconnect:
        path.unlink()
        raise HTTPException(400, "the upload broke off") from None  # nobody reads it; the log stays short
    except BaseException:
        path.unlink()
        raise
    return path, size
