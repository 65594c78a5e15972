"""What runs in the two workers of a suite, and is therefore trusted for nothing.

One holds the implementation and answers calls of its public functions. The other one holds the student's tests and
runs pytest; where these import the implementation, they get modules of stubs, each of which sends its call over.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import random
import socket
import sys
import time
import types
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import torch

from grader.sandbox import wire

MOST_TESTS, MOST_TEXT = 1000, 2000  # reported by one run, the last ones; characters of one failure
CROSS = {"ValueError": ValueError, "TypeError": TypeError, "KeyError": KeyError, "IndexError": IndexError}
"""Exceptions that arrive as what they are, without their message; others arrive as RuntimeError."""
_WORDS = "no particular words: the statement does not name any"


def serve(examiner: socket.socket, order: dict[str, Any], submission: str) -> None:
    """Do what `order` says: the program that the zygote knows as `suite`."""
    if "names" in order:
        _implement(examiner, order)
    else:
        _run_tests(examiner, order, submission)


# --- the implementation -----------------------------------------------------------------------------------------


def _implement(sock: socket.socket, order: dict[str, Any]) -> None:
    """Answer calls until the other side hangs up.

    What the statement leaves open is another thing in every run: what a seed stands for (`order["salt"]`), and in
    which order a dictionary has its entries.
    """
    shift = random.Random(order["salt"]).randrange(1 << 30)
    functions: dict[str, Any] = {}
    told: dict[str, dict[str, Any]] = {}
    try:
        for module, names in order["names"].items():
            loaded = importlib.import_module(module)
            for name in names:
                value = getattr(loaded, name)
                told.setdefault(module, {})[name] = None if callable(value) else value
                if callable(value):
                    functions[f"{module}.{name}"] = value, list(inspect.signature(value).parameters)
        hello = wire.encode({"names": told, "error": None})
    except BaseException as raised:
        hello = wire.encode({"names": {}, "error": f"{type(raised).__name__}: {raised}"[:MOST_TEXT]})
    # Who asks for something else gets no answer: an error that left here would be told with its lines of code.
    with contextlib.suppress(wire.WireError, *wire.MALFORMED):
        while True:
            asked = wire.receive(sock)
            if "hello" in asked:
                sock.sendall(hello)
                continue
            function, places = functions[asked["call"]]
            sock.sendall(_answer(function, places, asked["args"], asked["kwargs"], shift))


def _answer(
    function: Callable[..., Any],
    places: list[str],
    args: list[Any],
    kwargs: dict[str, Any],
    shift: int,
) -> bytes:
    # What the function prints is nobody's to compare.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            args, kwargs = _aligned(args), _aligned(kwargs)
            given = [_salted(name, value, shift) for name, value in zip(places, args, strict=False)]
            given += args[len(given) :]
            named = {name: _salted(name, value, shift) for name, value in kwargs.items()}
            before = wire.encode([given, named])
            answer = {"value": _shuffled(function(*given, **named), shift)}
            if wire.encode([given, named]) != before:
                answer["changed"] = [given, named]
            return wire.encode(answer)
        except BaseException as error:  # SystemExit, too
            # Of its message nothing: it would tell what stands in the code.
            kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__name__ in CROSS]
            return wire.encode({"raised": kinds[0] if kinds else ""})


def _aligned(value: Any) -> Any:
    """Return a value with its tensors where PyTorch puts them: the same sums are then rounded alike, call by call."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {name: _aligned(one) for name, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_aligned(one) for one in value)
    return value


def _salted(name: str, value: Any, shift: int) -> Any:
    """Return another seed for a seed, the same one for the same."""
    return (value + shift) % (1 << 31) if name == "seed" and type(value) is int else value


def _shuffled(value: Any, shift: int) -> Any:
    """Return a result with the entries of its dictionaries in an order that this run has for their names."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: zlib.crc32(f"{shift}{name}".encode()))
        return {name: _shuffled(value[name], shift) for name in names}
    if type(value) in (list, tuple):
        return type(value)(_shuffled(one, shift) for one in value)
    return value


# --- the tests --------------------------------------------------------------------------------------------------


class Gone(RuntimeError):
    """The implementation ended, or took too long; no test of it can pass any more."""

    __module__ = "builtins"  # as pytest shows it: without this file's name


class Implementation:
    """The stubs' end of the socket."""

    def __init__(self, sock: socket.socket, patience: float):
        self._sock, self._patience, self._frames = sock, patience, wire.Frames()
        self._process, self.gone = os.getpid(), ""

    def call(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a function; what it changes of its arguments is changed here too."""
        try:
            question = {"call": name, "args": list(args), "kwargs": dict(kwargs)}
            answer = self.ask(question)
        except wire.WireError as error:
            raise TypeError(f"{name} takes plain data and tensors, and nothing else: {error}") from None
        if "raised" in answer:
            raise CROSS.get(answer["raised"], RuntimeError)(_WORDS)
        for old, new in zip([args, kwargs], answer.get("changed", []), strict=False):
            _write_back(old, new)
        return answer["value"]

    def ask(self, question: dict[str, Any], patience: float | None = None) -> dict[str, Any]:
        """Return the answer to one message; raises Gone where there is none in time (seconds)."""
        patience = patience or self._patience
        frame = wire.encode(question)
        if os.getpid() != self._process:
            raise Gone("the implementation answers the process of the tests, and none that was forked of it")
        if self.gone:
            raise Gone(self.gone)
        end = time.monotonic() + patience
        try:
            self._sock.settimeout(patience)
            self._sock.sendall(frame)
            while (found := self._frames.receive(self._sock)) is None:
                self._sock.settimeout(max(0.001, end - time.monotonic()))
            return found[0]
        except TimeoutError:
            self.gone = f"{question.get('call', 'the import')} took longer than {patience:.3g} s"
        except (OSError, EOFError):
            self.gone = "the implementation ended"
        raise Gone(self.gone)


def _write_back(old: Any, new: Any) -> None:
    """Give a test's own arguments the values that the implementation left in them."""
    if isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor) and old.shape == new.shape:
        with torch.no_grad():
            old.copy_(new)
    elif isinstance(old, dict) and isinstance(new, dict):
        for name, value in new.items():
            if isinstance(value, (dict, list, torch.Tensor)) and type(old.get(name)) is type(value):
                _write_back(old[name], value)
            else:
                old[name] = value
        for name in old.keys() - new.keys():
            del old[name]
    elif isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        if isinstance(old, list) and len(old) != len(new):
            old[:] = new
            return
        for place, (before, value) in enumerate(zip(old, new, strict=False)):
            if isinstance(before, (dict, list, tuple, torch.Tensor)):
                _write_back(before, value)
            elif isinstance(old, list):
                old[place] = value


def _run_tests(examiner: socket.socket, order: dict[str, Any], submission: str) -> None:
    """Run pytest over one file; tell (test, outcome, text) of each test, and what pytest itself came to.

    The socket to the implementation comes with the byte after the order.
    """
    _, (descriptor,), _, _ = socket.recv_fds(examiner, 1, 1)
    with socket.socket(fileno=descriptor) as sock:
        implementation = Implementation(sock, order["patience"])
        # Its import is no call of the tests: on a busy machine it may take as long as the whole run may.
        hello = implementation.ask({"hello": True}, order["wall"])
        if hello["error"]:
            examiner.sendall(wire.encode({"broken": hello["error"]}))
            return
        for module, names in hello["names"].items():
            sys.modules[module] = _stubs(implementation, module, names)
        teller = _Teller(submission)
        code = _pytest(f"{submission}/{order['tests']}", submission, teller)
        sys.stdout.flush()
        sys.stderr.flush()
        told = {"tests": teller.tests[-MOST_TESTS:], "code": int(code)}
        examiner.sendall(wire.encode(told))


def _stubs(implementation: Implementation, module: str, names: dict[str, Any]) -> types.ModuleType:
    made = types.ModuleType(module, "Calls the implementation, which runs in another process.")

    def stub(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return implementation.call(f"{module}.{name}", args, kwargs)

        call.__name__ = call.__qualname__ = name
        return call

    for name, value in names.items():
        setattr(made, name, stub(name) if value is None else value)

    def missing(name: str) -> NoReturn:
        raise AttributeError(
            f"{module}.{name}: the statement names no such thing, a right implementation may lack it"
        )

    made.__getattr__ = missing
    return made


class _Teller:
    """A plugin of pytest that keeps what each test came to."""

    def __init__(self, submission: str):
        self.tests: list[list[str]] = []
        self._submission = submission

    def pytest_configure(self, config: Any) -> None:
        # What looks for exceptions that nobody caught would collect all garbage at the end, after the last report.
        from _pytest.unraisableexception import gc_collect_iterations_key

        config.stash[gc_collect_iterations_key] = 0

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or not report.passed:
            self._keep(report, "failed" if report.failed else report.outcome)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._keep(report, "broken")

    def _keep(self, report: Any, outcome: str) -> None:
        crash = getattr(report.longrepr, "reprcrash", None)
        text = crash.message if crash else str(report.longrepr or "")
        if not crash and (told := [line[1:].strip() for line in text.split("\n") if line.startswith("E ")]):
            text = " ".join(told)  # of a file that cannot be imported pytest shows where, too
        name = report.nodeid.rpartition("::")[2] or report.nodeid
        self.tests.append([name[:200], outcome, text.replace(self._submission + "/", "")[:MOST_TEXT]])


def _pytest(file: str, submission: str, teller: _Teller) -> int:
    """Run pytest in this process, with no plugin and no setting but ours."""
    import hypothesis
    import pytest
    from hypothesis.configuration import set_hypothesis_home_dir

    # Imported ahead, it would keep its tables where the zygote is: without isolation that is the machine's root.
    set_hypothesis_home_dir(os.path.abspath(".hypothesis"))
    # No clock of its own, no shrinking and no files: a run is to end, and to leave nothing. The same examples in
    # every run: what a suite is worth is no matter of luck.
    fast = hypothesis.settings(
        deadline=None,
        database=None,
        derandomize=True,
        max_examples=30,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=[*hypothesis.HealthCheck],  # pyright: ignore[reportArgumentType],
    )
    hypothesis.settings.register_profile("suite", fast)
    hypothesis.settings.load_profile("suite")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    # No report of its own: among the prints of a hundred runs nobody could tell whose it is.
    options = ["-x", "-p", "no:terminal", "-p", "no:cacheprovider", "-c", os.devnull]
    return pytest.main([*options, f"--rootdir={submission}", file], plugins=[teller])
