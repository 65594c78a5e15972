"""`make services`: services start in order, are printed, and none of them is left, however the program ends."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from effdl import processes, services
from effdl.services import NotStarted, Running, Service, answers, free_ports, listens

SERVER = (
    "import http.server, sys; "
    "http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"
)


def server(name="web", before=""):
    (port,) = free_ports(1)
    command = [sys.executable, "-c", before + SERVER, str(port)]
    return Service(name, command, f"http://127.0.0.1:{port}", answers(f"http://127.0.0.1:{port}/")), port


def test_free_ports_are_different_ones():
    assert len(set(free_ports(20))) == 20


def test_a_proxy_that_the_environment_names_is_not_asked(monkeypatch, tmp_path):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    web, _ = server()
    with Running(tmp_path) as running:
        running.start(web)
        assert web.ready()


def listening(port):
    try:
        return listens(port)()
    except OSError:
        return False


def test_a_service_answers_within_the_block_and_not_after_it(tmp_path):
    service, port = server()
    with Running(tmp_path) as running:
        running.start(service)
        assert listening(port)
    assert not listening(port)


def test_children_of_a_service_that_ignore_sigterm_end_too(tmp_path):
    before = "import subprocess, sys; subprocess.Popen(['sh', '-c', \"trap '' TERM; sleep 77 & wait; sleep 77\"]); "
    service, port = server(before=before)
    with Running(tmp_path) as running:
        running.start(service)
        family = psutil.Process(running.children["web"].pid).children(recursive=True)
        assert family
    assert not listening(port)
    assert not any(processes.lives(process) for process in family)


def test_a_service_that_ends_is_an_error_with_its_log_and_the_others_still_start(tmp_path, capsys):
    broken = Service(
        "broken", [sys.executable, "-c", "print('no model here'); raise SystemExit(7)"], "", lambda: False
    )
    absent = Service("absent", ["there-is-no-such-program"], "", lambda: False)
    missing = Service("missing", [], "", lambda: False, missing="install it")
    service, port = server()
    stopped = threading.Event()

    def stop_when_listed():
        end = time.monotonic() + 60
        while time.monotonic() < end and not listening(port):
            time.sleep(0.05)
        stopped.set()

    threading.Thread(target=stop_when_listed).start()
    assert services.run([broken, absent, missing, service], tmp_path, stopped) == 1
    said = capsys.readouterr().out
    assert "broken ended with 7" in said
    assert "no model here" in said
    assert "there-is-no-such-program" in said
    assert "missing" in said
    assert "not here: install it" in said
    assert not listening(port)


def test_a_service_that_never_answers_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(services, "START", 0.3)
    with Running(tmp_path) as running:
        with pytest.raises(NotStarted, match="did not answer"):
            running.start(Service("mute", ["sleep", "60"], "", lambda: False))
        assert not running.children


def test_a_service_that_dies_later_is_named(tmp_path, capsys, monkeypatch):
    service, port = server()
    stopped, ended = threading.Event(), Running.ended

    def kill_then_look(running):
        for child in running.children.values():
            child.kill()
            child.wait()
        stopped.set()
        return ended(running)

    monkeypatch.setattr(Running, "ended", kill_then_look)
    assert services.run([service], tmp_path, stopped) == 0
    assert "web has ended" in capsys.readouterr().out
    assert not listening(port)


PROGRAM = """
import sys
from pathlib import Path
from effdl import processes, services
services.lists = lambda: {"week99_x": Path("x")}
port = int(sys.argv.pop())
web = services.Service("web", [sys.executable, "-c", sys.argv.pop(), str(port)], "there", services.listens(port))
services.of_weeks = lambda weeks, folder: [web]
sys.exit(services.main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_program_and_nothing_listens_after(number):
    (port,) = free_ports(1)
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, SERVER, str(port)],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    try:
        lines = [program.stdout.readline() for _ in range(2)]
        assert "web" in lines[0]
        assert "Ctrl-C" in lines[1]
        program.send_signal(number)
        assert "Stopping" in program.stdout.read()
        assert program.wait(60) == 0
    finally:
        program.kill()
        program.wait()
        program.stdout.close()
    assert not listening(port)


@pytest.mark.parametrize("week", services.lists())
def test_the_list_of_a_week_is_one_of_services_on_loopback(week, tmp_path):
    try:
        listed = list(services.of_weeks([week], tmp_path))
    except ImportError as error:
        pytest.skip(f"{week} needs {error.name}")
    for service in listed:
        assert service.name
        assert service.missing or service.command
        assert "127.0.0.1" in service.address or "localhost" in service.address
        assert "0.0.0.0" not in " ".join(map(str, service.command))


def test_an_unknown_week_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["services", "week99"])
    with pytest.raises(SystemExit):
        services.main()
    assert "week06_deployment" in capsys.readouterr().err
