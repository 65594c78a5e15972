"""A push is answered with a table: the real service, asked by the very shell steps of the CI files."""

import contextlib
import io
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import httpx
import jsonschema
import pytest
import uvicorn
import yaml

from grader.course import Course, CourseError
from grader.examine.report import CheckResult, Report
from grader.steps.serve import tokens
from grader.steps.serve.connection import PATIENCE, Connection
from grader.steps.serve.line import Full, Line, Run
from grader.steps.serve.table import table
from grader.tests.conftest import RIGHT, write_sample_course

CI = Path(__file__).parents[2] / "steps" / "serve" / "ci"
WRONG = RIGHT.replace("sum(x)", "0")


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    return write_sample_course(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def url(course):
    """`grader serve`, as an instructor starts it."""
    command = [
        sys.executable,
        "-m",
        "grader",
        "serve",
        "--port",
        "0",
        "--per-hour",
        "3",
        "--course",
        str(course),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
    try:
        for line in process.stdout:
            if found := re.search(r"(http://127\.0\.0\.1:\d+)/submissions/HW", line):
                yield found[1]
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def token(course):
    key = tokens.key_of(course)
    return lambda student: tokens.token(key, student)


def zipped(files: dict[str, bytes | str], links: dict[str, str] | None = None) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for name, target in (links or {}).items():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, target)
    return data.getvalue()


def hand_in(url, token, data, assignment="hw1"):
    head = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.post(f"{url}/submissions/{assignment}", content=data, headers=head, timeout=30)


def ask(url, token, path, wait=50):
    head = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{url}{path.strip()}", params={"wait": wait}, headers=head, timeout=60)


def repository(folder: Path, sums: str) -> Path:
    (folder / "hw1").mkdir(parents=True)
    (folder / "hw1" / "sums.py").write_text(sums)
    git = ["git", "-c", "user.name=s", "-c", "user.email=s@example.org", "-C", str(folder)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "mine"]):
        subprocess.run([*git, *words], check=True)
    return folder


def shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run one step as a runner does."""
    return subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def github(job: str, folder: Path, url: str, token: str) -> tuple[int, str]:
    """Run the shell steps of a job of the workflow; return the exit code and the summary."""
    steps = yaml.safe_load((CI / "github.yml").read_text())["jobs"][job]["steps"]
    temp, summary = folder.parent / f"{folder.name}-temp", folder.parent / f"{folder.name}-summary"
    temp.mkdir()
    summary.touch()
    told = {"RUNNER_TEMP": str(temp), "GITHUB_STEP_SUMMARY": str(summary)}
    for step in steps:
        if "run" in step:
            ran = shell(step["run"], folder, HW="hw1", GRADER_URL=url, GRADER_TOKEN=token, **told)
            if ran.returncode:
                return ran.returncode, summary.read_text() + ran.stdout + ran.stderr
    return 0, summary.read_text()


def gitlab(folder: Path, url: str, token: str) -> tuple[int, str]:
    job = yaml.safe_load((CI / "gitlab.yml").read_text())[".grader"]
    script = "\n".join(job["script"])
    ran = shell(f"set -o pipefail\n{script}", folder, HW="hw1", GRADER_URL=url, GRADER_TOKEN=token)
    return ran.returncode, ran.stdout + ran.stderr


def test_a_push_to_github_gets_its_table_and_no_hidden_check(url, token, tmp_path):
    code, summary = github("cpu", repository(tmp_path / "right", RIGHT), url, token("ada"))
    assert (code, "1.5 of 1.5 points" in summary) == (0, True)
    code, summary = github("gpu", repository(tmp_path / "wrong", WRONG), url, token("ada"))
    assert code == 1
    assert "| total | 0 of 1 | total_adds, fail: " in summary
    assert "secretly" not in summary
    code, summary = github("cpu", repository(tmp_path / "none", RIGHT), url, "ada.0000")
    assert code != 0
    assert "no token of a student of this course" in summary


def test_a_push_to_gitlab_gets_its_table(url, token, tmp_path):
    code, told = gitlab(repository(tmp_path / "right", RIGHT), url, token("grace"))
    assert (code, "1.5 of 1.5 points" in told) == (0, True)
    code, told = gitlab(repository(tmp_path / "wrong", WRONG), url, token("grace"))
    assert (code, "| total | 0 of 1 |" in told) == (1, True)
    code, told = gitlab(repository(tmp_path / "none", RIGHT), url, "grace.0000")
    assert (code != 0, "no token of a student of this course" in told) == (True, True)


@pytest.mark.parametrize(("name", "schema"), [("github", "github-workflows"), ("gitlab", "gitlab-ci")])
def test_the_files_for_ci_follow_the_schemas_of_their_services(name, schema):
    package = Path(pytest.importorskip("check_jsonschema").__file__).parent
    rules = json.loads((package / "builtin_schemas" / "vendor" / f"{schema}.json").read_text())
    data = yaml.safe_load((CI / f"{name}.yml").read_text())
    data = {"on" if key is True else key: value for key, value in data.items()}  # YAML 1.1 reads `on` so
    jsonschema.validators.validator_for(rules)(rules).validate(data)


def test_the_files_for_ci_run_for_pushes_only_and_hold_no_secret():
    text = (CI / "github.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow[True] == "push"  # YAML 1.1 reads `on` so
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "!github.event.repository.fork" in job["if"]
        assert "self-hosted" in job["runs-on"]
        assert job["concurrency"]  # a second push would be refused, and its table never seen
        assert job["env"]["GRADER_TOKEN"] == "${{ secrets.GRADER_TOKEN }}"
    rules = [
        job["rules"]
        for name, job in yaml.safe_load((CI / "gitlab.yml").read_text()).items()
        if "rules" in job
    ]
    assert all("push" in rule["if"] for found in rules for rule in found)


def test_nobody_reads_or_hands_in_for_another(url, token, course):
    good = zipped({"sums.py": RIGHT})
    run = hand_in(url, token("alan"), good)
    assert run.status_code == 202
    assert ask(url, token("eve"), run.text, 0).status_code == 404
    signature = token("alan").rpartition(".")[2]
    for wrong in ("", "alan", "alan.", f"eve.{signature}", f".{signature}", "alan." + signature[:-1] + "0"):
        if wrong != token("alan"):
            assert hand_in(url, wrong, good).status_code == 401
    assert ask(url, token("alan"), run.text).status_code == 200
    assert ask(url, token("alan"), "/runs/" + "0" * 32, 0).status_code == 404
    key = course / ".grader" / "serve.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text().strip() not in signature


def test_one_run_at_a_time_and_so_many_an_hour(url, token):
    mine = token("barbara")
    slow = "import time\n" + RIGHT.replace("    return sum(x)", "    time.sleep(2)\n    return sum(x)")
    first = hand_in(url, mine, zipped({"sums.py": slow}))
    second = hand_in(url, mine, zipped({"sums.py": RIGHT}))
    assert (second.status_code, "wait for its table" in second.text) == (409, True)
    other = hand_in(url, token("frances"), zipped({"sums.py": RIGHT}))
    told = ask(url, token("frances"), other.text, 0)
    assert (told.status_code, told.text) == (202, "waiting, 0 before it\n")
    assert ask(url, mine, first.text).status_code == 200
    for _ in range(2):
        run = hand_in(url, mine, zipped({"sums.py": RIGHT}))
        assert run.status_code == 202
        assert ask(url, mine, run.text).headers["X-Grader-Verdict"] == "pass"
    refused = hand_in(url, mine, zipped({"sums.py": RIGHT}))
    assert (refused.status_code, "3 runs an hour" in refused.text) == (429, True)
    assert 3000 < int(refused.headers["Retry-After"]) <= 3601


def test_what_is_no_submission_is_said_and_leaves_nothing(url, token, tmp_path):
    mine = token("edsger")
    hostile = zipped(
        {"../../outside.py": "x", "sums.py": RIGHT, "conftest.py": "raise SystemExit"},
        {"link.py": "/etc/passwd"},
    )
    told = ask(url, mine, hand_in(url, mine, hostile).text).text
    assert "1.5 of 1.5 points" in told
    assert "leads out of the folder" in told
    assert "root" not in told
    no_zip = ask(url, mine, hand_in(url, mine, b"no zip").text)
    assert (no_zip.headers["X-Grader-Verdict"], "Not examined" in no_zip.text) == ("fail", True)
    missing = ask(url, mine, hand_in(url, mine, zipped({"other.py": ""})).text)
    assert "sums.py is missing" in missing.text
    assert hand_in(url, token("tony"), zipped({}), assignment="hw9").status_code == 404
    large = hand_in(url, token("tony"), iter([bytes(1 << 20)] * 65))
    assert large.status_code == 413


def test_text_of_a_submission_stays_in_its_cell():
    hostile = (
        "a | b\n\n<script>x</script> [l](http://e) ![](http://e/p) `c` @all #1 ~~s~~ __b__ www.e.org <!-- & &lt; "
        "\u202e \x1b[31m a_name: of 3"
    )
    check = CheckResult("c", "item", 0.0, 1.0, "fail", hostile)
    part = Course.load(Path(__file__).parents[3] / "assignments").assignment("hw1_distributed").part(1)
    text = table("hw", [(part, Report([check], notes=[hostile]))])
    rows = [line for line in text.splitlines() if line.startswith("| item |")]
    assert len(rows) == 2
    assert all(row.count("|") == 4 for row in rows)
    assert not re.search(r"<|!\[|\]\(|`|@|~|\x1b|\u202e|\[l|://|www\.|__", text)
    assert "a_name: of 3" in rows[1]


def test_a_student_whose_name_cannot_be_signed_is_refused(course):
    for name in ("", "a b", "a/b", ".a", "a.", "x" * 65, "é", "a\n"):
        with pytest.raises(CourseError, match="1 to 64 letters"):
            tokens.token(b"k", name)
    assert tokens.student_of(b"k", tokens.token(b"k", "a.b@c.org")) == "a.b@c.org"
    assert tokens.student_of(b"k", tokens.token(b"other", "a")) is None


def test_what_trips_the_grader_costs_nobody_else_and_a_full_line_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("grader.steps.serve.line.MOST_BYTES", 100)
    go = threading.Event()

    def work(run):
        go.wait(20)
        if run.student == "bad":
            raise RuntimeError("the grader's own mistake")
        return "fine", True

    line = Line(work, jobs=1, per_hour=5)
    runs = {name: Run(name, "hw", tmp_path / name, 40) for name in ("bad", "good", "next", "more")}
    for run in runs.values():
        run.upload.write_bytes(b"")
    line.enter(runs["bad"])
    while runs["bad"].state == "waiting":
        time.sleep(0.01)
    assert [line.enter(runs["good"]), line.enter(runs["next"])] == [0, 1]
    with pytest.raises(Full, match="too many wait"):
        line.enter(runs["more"])
    with line.uploading("more"), pytest.raises(Full, match="under way"), line.uploading("more"):
        raise AssertionError
    go.set()
    assert all(runs[name].ended.wait(20) for name in ("bad", "good", "next"))
    assert "could not be examined" in runs["bad"].table
    assert (runs["good"].table, runs["good"].passed) == ("fine", True)
    assert not runs["bad"].upload.exists()
    line.close()


@pytest.fixture
def many():
    """Open connections that send these bytes; all are closed at the end."""
    opened: list[socket.socket] = []

    def connect(url: str, count: int, data: bytes) -> list[socket.socket]:
        host, port = url.removeprefix("http://").split(":")
        for _ in range(count):
            opened.append(socket.create_connection((host, int(port)), timeout=10))
            opened[-1].sendall(data)
        return opened

    yield connect
    for one in opened:
        one.close()


@pytest.mark.parametrize("data", [b"", b"GET /runs/x HTTP/1.1\r\nHost: x\r\n"])
def test_connections_that_ask_nothing_keep_nobody_out(url, token, many, data):
    many(url, 300, data)
    time.sleep(1.5 * PATIENCE)
    assert ask(url, token("ada"), "/runs/none", 0).status_code == 404


def test_one_students_questions_that_wait_keep_nobody_out(url, token, many):
    mine = token("donald")
    slow = "import time\n" + RIGHT.replace("    return sum(x)", "    time.sleep(4)\n    return sum(x)")
    run = hand_in(url, mine, zipped({"sums.py": slow})).text.strip()
    question = f"GET {run}?wait=50 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {mine}\r\n\r\n".encode()
    answers = [one.recv(12) for one in many(url, 150, question)[4:]]
    assert set(answers) == {b"HTTP/1.1 202"}
    many(url, 150, question)
    time.sleep(1.5 * PATIENCE)
    assert ask(url, token("ada"), "/runs/none", 0).status_code == 404
    # Who leaves waits no longer, or this question were answered at once.
    for one in many(url, 0, b""):
        one.close()
    time.sleep(1)
    began = time.monotonic()
    told = ask(url, mine, run, 2)
    assert told.status_code == 200 or time.monotonic() - began > 1.5
    assert ask(url, mine, run).status_code == 200


def test_answers_that_nobody_reads_keep_nobody_out(monkeypatch):
    monkeypatch.setattr("grader.steps.serve.connection.MOST_SILENT", 2)

    async def long(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(1 << 20)})

    settings = uvicorn.Config(
        long,
        http=Connection,
        lifespan="off",
        log_level="error",
        limit_concurrency=8,
        timeout_graceful_shutdown=0,
    )
    server = uvicorn.Server(settings)
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert httpx.get(url).status_code == 200
        # Each answer waits for room. The last two ask nothing, and are not too many.
        for count in [50] * 7 + [0] * 2:
            one = opened.enter_context(socket.create_connection(listener.getsockname()))
            one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * count)
            time.sleep(0.1)  # one after the other, or all were too many at once, and refused
        time.sleep(1.5 * PATIENCE)
        httpx.get(url)  # who comes is what ends those that are too many
        assert httpx.get(url).status_code == 200
        server.should_exit = True
        thread.join(20)


def test_what_comes_behind_a_question_fills_no_memory(url, token, many):
    mine = token("margaret")
    slow = "import time\n" + RIGHT.replace("    return sum(x)", "    time.sleep(4)\n    return sum(x)")
    run = hand_in(url, mine, zipped({"sums.py": slow})).text.strip()
    question = f"GET {run}?wait=50 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {mine}\r\n\r\n".encode()
    (one,) = many(url, 1, question)
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 20 << 20:
            one.sendall(bytes(1 << 16))
            sent += 1 << 16
            time.sleep(0.01)
    assert ask(url, mine, run, 0).status_code == 202  # not its end was what broke the connection off
    assert ask(url, mine, run).status_code == 200
