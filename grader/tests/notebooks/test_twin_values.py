"""What crosses between the tests and the student: it arrives as it was, and hostile bytes do no more than fail."""

import collections
import contextlib
import datetime
import decimal
import fractions
import json
import math
import random
import socket
import struct
import sys
import threading
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.notebooks.names import names_of
from grader.notebooks.twin import copy_back
from grader.notebooks.twin.copy_back import Generators, put_back, random_state, set_random_state
from grader.notebooks.twin.peer import CannotCross
from grader.notebooks.twin.pristine import Pristine
from grader.notebooks.twin.reader import _FROM_TESTS, _READERS, Reader
from grader.notebooks.twin.values import Refused
from grader.notebooks.twin.writer import Writer
from grader.sandbox import wire

keys = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
scalars = keys | st.complex_numbers(allow_nan=False) | st.just(...)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
    ),
    max_leaves=20,
)


def refuse_handles(*_):
    raise wire.WireError("a handle")


def cross(value, *, trusted=True, classes=(), own=None):
    """Send a value over the wire from the student's side to the tests', or back where not `trusted`."""
    own = own or {}
    writer = Writer(trusted=not trusted, hold=refuse_handles, classes=classes, own=own)
    frame = wire.pack(writer.write(value), writer.blobs)
    size, _ = wire.HEAD.unpack(frame[: wire.HEAD.size])
    body = memoryview(frame)[wire.HEAD.size :]
    tree, blobs = wire.unpack(bytes(body[:size]), body[size:])
    return Reader(blobs, trusted=trusted, find=refuse_handles, classes=classes, own=own).read(tree)


@settings(max_examples=300, deadline=None)
@given(values, st.booleans())
def test_plain_data_arrives_with_the_same_types_and_values(value, trusted):
    found = cross(value, trusted=trusted)
    assert repr(found) == repr(value) or found == value
    assert type(found) is type(value)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(), min_size=30, max_size=50) | st.lists(st.floats(), min_size=30, max_size=50))
def test_long_lists_of_numbers_arrive_bit_by_bit(numbers):
    assert repr(cross(numbers)) == repr(numbers)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6).reshape(2, 3).T,
        np.array(2.5),
        np.zeros((0, 3)),
        np.array(["a", "long"]),
        np.array([None, "x", 3], dtype=object),
        np.array(["2026-01-01"], dtype="datetime64[D]"),
        np.float32(1.5),
        np.dtype("int16"),
        torch.arange(4, dtype=torch.bfloat16),
        torch.tensor(True),
        torch.zeros(2, 0),
        torch.Size([1, 2]),
        torch.float16,
        fractions.Fraction(1, 3),
        decimal.Decimal("1.10"),
        datetime.date(2026, 1, 2),
        datetime.datetime(2026, 1, 2, 3, 4, 5, 6),
        datetime.timedelta(days=2, microseconds=1),
        collections.Counter("abca"),
        collections.OrderedDict(b=1, a=2),
        collections.deque([1, 2]),
        int,
        np.float64,
        torch.nn.Linear,
        pd.Series([1.5, None], name="x"),
        pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.to_datetime(["2026-01-01", "2026-01-02"])}),
        pd.DataFrame({"k": [1]}, index=pd.Index(["row"], name="i")),
        pd.Index([3, 1]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_courses_return_arrives_as_it_was(value):
    found = cross(value)
    assert type(found) is type(value)
    if isinstance(value, (pd.DataFrame, pd.Series)):
        getattr(pd.testing, f"assert_{'frame' if isinstance(value, pd.DataFrame) else 'series'}_equal")(
            found, value
        )
    elif isinstance(value, (np.ndarray, torch.Tensor)):
        assert found.dtype == value.dtype
        assert found.shape == value.shape
        assert found.tolist() == value.tolist()
    else:
        assert repr(found) == repr(value)


def test_one_list_under_two_names_stays_one_list():
    inner, array = [1], np.zeros(2)
    found = cross([inner, inner, (array, {"a": array})])
    assert found[0] is found[1]
    assert found[2][0] is found[2][1]["a"]
    loop = []
    loop.append(loop)
    again = cross(loop)
    assert again[0] is again


def test_subclasses_drop_to_their_base():
    class Int(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    class Mine(torch.Tensor):
        def sum(self):
            return 0

    assert type(cross(Int(7))) is int
    assert type(cross(torch.zeros(3).as_subclass(Mine))) is torch.Tensor


class Node:
    """An instructor's class."""


def test_an_object_of_an_instructors_class_arrives_with_its_state_and_no_more():
    node = Node()
    node.value, node.next = 3, Node()
    node.next.next = node
    found = cross(node, classes=["Node"], own={"Node": Node})
    assert type(found) is Node
    assert (found.value, found.next.next) == (3, found)
    with pytest.raises(wire.WireError):
        cross(node)


@pytest.mark.parametrize("value", [object(), pytest, Node, np.zeros(2, dtype="i4,f4")])
def test_an_argument_that_cannot_cross_is_refused_where_it_is_sent(value):
    with pytest.raises((Refused, wire.WireError)):
        cross(value, trusted=False)


@pytest.mark.parametrize(
    "tree",
    [
        {"lib": ["os", "system"]},
        {"m": "os"},
        {"ty": "subprocess:Popen"},
        {"o": ["builtins:object", {"d": []}]},
        {"o": ["torch.nn.modules.linear:Linear", {"d": []}]},
        {"a": ["O", [1], 0]},
        {"a": ["<f8", [-1], 0]},
        {"T": ["float32", [1 << 39], 0, False, False, -1, None]},
        {"T": ["load", [1], 0, False, False, -1, None]},
        {"td": "torch.load"},
        {"dt": "O"},
        {"rng": {"d": [["bit_generator", "__class__"]]}},
        {"#": 0},
        {"#": -1},
        {"DF": [["", [0, 1, 1], None], ["", [0, 1, 1], None], [["object", {"l": []}]]]},
        {"SE": [["", [0], None], ["evil", {"l": []}], None]},
        {"cb": 0},
        {"own": 0},
        {"f": "nan(0)"},
        [1],
        {},
        {"l": [], "t": []},
        1.5,
    ],
)
def test_a_tree_that_no_writer_would_write_is_refused(tree):
    reader = Reader([memoryview(b"12345678")], trusted=True, find=refuse_handles, classes=[], own={})
    with pytest.raises(wire.WireError):
        reader.read(tree)


TAGS = [*_READERS, *_FROM_TESTS, "h", "own", "cb", "x"]
trees = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 1 << 60)
    | st.text(max_size=5)
    | st.sampled_from(["<f8", "float32"]),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.sampled_from(TAGS), inner, max_size=2),
    max_leaves=25,
)


@settings(max_examples=500, deadline=None)
@given(trees)
def test_reading_any_tree_gives_a_value_or_a_wire_error(tree):
    reader = Reader(
        [memoryview(b"abcdefgh")] * 3, trusted=True, find=refuse_handles, classes=["Node"], own={"Node": Node}
    )
    try:
        reader.read(tree)
    except wire.WireError:
        return


def answered(data):
    """Ask a student's side that answers with these bytes and hangs up; return the peer."""
    ours, theirs = socket.socketpair()

    def answer():
        with theirs:
            theirs.recv(1 << 16)
            theirs.sendall(data)

    thread = threading.Thread(target=answer)
    thread.start()
    with ours:
        peer = Pristine(ours, {}, [])
        peer.deadline = float("inf")
        try:
            peer.request({"op": "names", "names": []})
        finally:
            thread.join()
    return peer


def frame(tree):
    text = json.dumps({"v": tree, "b": []}).encode()
    return wire.HEAD.pack(len(text), 0) + text


WORDS = st.sampled_from(["v", "out", "mro", "text", "args", "id", "call", "back"])
messages = st.builds(
    lambda kind, rest: frame({"out": [], **rest, "op": kind}),
    st.sampled_from(["ret", "exc", "cb", "call"]),
    st.dictionaries(WORDS, trees),
)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | trees.map(frame) | messages)
def test_whatever_the_students_side_answers_the_tests_side_goes_on(data):
    found = None
    try:
        answered(data)
    except (CannotCross, Exception) as error:
        found = error
    # What it says was raised by the student's code is a built-in exception, or one without methods of its own.
    assert found is None or type(found).__module__ in ("builtins", "grader.notebooks.twin.peer")
    assert not isinstance(found, wire.WireError)


def test_a_message_over_the_limit_is_not_read():
    with pytest.raises(CannotCross, match="limit"):
        answered(struct.pack("<IQ", 100, 1 << 40))


def test_what_a_call_changed_is_put_back_without_a_new_identity():
    row, array, tensor = [1, 2], np.zeros(2), torch.zeros(2)
    outer = [row, {"a": array}, tensor]
    put_back(outer, [[3, 4, 5], {"a": np.ones(2), "b": 1}, torch.ones(2)])
    assert outer[0] is row
    assert row == [3, 4, 5]
    assert outer[1]["a"] is array
    assert array.tolist() == tensor.tolist() == [1, 1]


def test_names_are_those_that_the_compiled_cell_binds_and_loads():
    names = names_of(
        "%matplotlib inline\nimport numpy as np\nx = f(3)\nclass A(B):\n    k = g\n    def m(self): return h(np)\n"
        "y[0].z = 1\n[w for w in zz]\ndef t(x=d):\n    global G\n    G = 2\n    local = u\n    return local"
    )
    assert names.binds == {"np", "x", "A", "t", "G"}
    assert {"f", "B", "g", "zz", "d"} <= names.at_once
    assert {"h", "u"} <= names.loads - names.at_once
    assert names.changes == {"y"}
    assert not {"w", "local", "self", "k"} & (names.loads | names.binds)
    assert names_of("%%time\nr = foo(3)").at_once >= {"foo"}
    assert names_of("import inspect\ninspect.getsource(f)").inspects == "getsource()"
    assert names_of("def f(:").loads == set()


def test_nan_and_infinity_survive():
    found = cross([math.nan, -math.inf, np.array([math.nan])])
    assert math.isnan(found[0])
    assert found[1] == -math.inf
    assert np.isnan(found[2][0])


DRAWS = {
    "nothing": (lambda: None, []),
    "random": (random.random, ["random"]),
    "a normal number of random's": (lambda: random.gauss(0, 1), ["random"]),
    "numpy": (np.random.rand, ["numpy"]),
    "a normal number": (np.random.randn, ["numpy"]),
    "as many as come around": (lambda: np.random.bytes(4 * 624), ["numpy"]),
    "torch": (lambda: torch.rand(()), ["torch"]),
    "seeds": (
        lambda: (random.seed(1), np.random.seed(1), torch.manual_seed(1)),
        ["random", "numpy", "torch"],
    ),
}


@pytest.fixture
def seeded():
    before = random_state()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    yield
    set_random_state(before)


@pytest.mark.parametrize(("draw", "which"), DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("before", [0, 1, 2])
def test_every_draw_is_noticed_once(seeded, draw, which, before):
    for _ in range(before):
        np.random.randn()
    known = Generators()
    for _ in range(3):
        draw()
        assert list(known.changed()) == which
        assert known.changed() == {}
        which = [] if len(which) == 3 else which  # the same seed a second time


def test_a_draw_of_random_is_noticed_where_its_state_lies_elsewhere(seeded, monkeypatch):
    monkeypatch.setattr(copy_back, "_PLAIN_RANDOM", 0)
    known = Generators()
    random.random()
    assert list(known.changed()) == ["random"]
    assert known.changed() == {}


def test_a_number_that_waited_is_noticed_when_it_is_drawn(seeded):
    known = Generators()
    for _ in range(4):
        np.random.randn()
        assert [state[3] for state in known.changed().values()] == [np.random.get_state()[3]]


def test_another_generator_of_numpys_stops_nothing(seeded):
    known, usual = Generators(), np.random.get_bit_generator()
    np.random.set_bit_generator(np.random.PCG64(0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert list(known.changed()) == ["numpy"]
            assert known.changed() == {}
    finally:
        np.random.set_bit_generator(usual)


@pytest.mark.parametrize("step", ["_answer", "_receive", "receive", "_read_answer"])
def test_an_answer_that_an_interrupt_has_left_is_not_the_next_questions(step):
    """A cell of many short calls may be interrupted between any two steps of one."""
    ours, theirs = socket.socketpair()

    def answer():
        frames, number = wire.Frames(wire.unpack), 0
        with contextlib.suppress(OSError, EOFError):
            while True:
                if frames.receive(theirs):
                    number += 1
                    theirs.sendall(wire.pack({"op": "ret", "v": number, "out": []}, []))

    def interrupt(frame, event, _):
        if event == "call" and frame.f_code is getattr(Pristine, step).__code__:
            sys.settrace(before)
            raise KeyboardInterrupt

    with ours, theirs:
        thread = threading.Thread(target=answer)
        thread.start()
        pristine = Pristine(ours, {}, [])
        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            with pytest.raises(KeyboardInterrupt):
                pristine.call(0, (), {})
        finally:
            sys.settrace(before)
        assert [pristine.call(0, (), {}) for _ in range(2)] == [2, 3]
        ours.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_columns_of_numbers_cross_as_arrays_and_not_number_by_number():
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": pd.to_datetime(["2026-01-01", "2026-01-02"])})
    writer = Writer(trusted=True, hold=refuse_handles, classes=[], own={})
    _, _, columns = writer.write(frame)["DF"]
    assert [kind for kind, _ in columns] == ["array"] * 3


@pytest.mark.parametrize("text", ["é\ud800", 'a,"[', "", None])
def test_many_texts_cross_as_they_were(text):
    value = ["x", text] * 40
    assert cross([value, value[:3]]) == [value, value[:3]]
    twice = cross([value] * 2)
    assert twice[0] is twice[1]


@pytest.mark.parametrize(
    "data",
    [
        b"[1]",
        b'{"a": "b"}',
        b'["a"',
        b'[["a"]]',
        b"[NaN]",
        b"\xff",
        b"",
        b"[" * 100_000,
        b"[" + b"0," * (1 << 20),
    ],
)
def test_a_blob_that_is_no_list_of_texts_is_refused(data):
    reader = Reader([memoryview(data)], trusted=True, find=refuse_handles, classes=[], own={})
    with pytest.raises(wire.WireError):
        reader.read({"L": ["s", 0]})
