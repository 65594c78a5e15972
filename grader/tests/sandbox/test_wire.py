import json
import math
import socket
import struct
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.sandbox import wire

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)


def cross(value):
    frame = wire.encode(value)
    tree, _ = wire.HEAD.unpack(frame[: wire.HEAD.size])
    body = memoryview(frame)[wire.HEAD.size :]
    return wire.decode(bytes(body[:tree]), body[tree:])


def same(one, two):
    if isinstance(one, float) and math.isnan(one):
        return type(two) is float and math.isnan(two)
    if type(one) in (list, tuple):
        return type(one) is type(two) and len(one) == len(two) and all(map(same, one, two))
    if type(one) is dict:
        return type(two) is dict and list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    return type(one) is type(two) and one == two


@settings(max_examples=300, deadline=None)
@given(values)
def test_plain_data_arrives_with_the_same_types_and_values(value):
    assert same(value, cross(value))


@pytest.mark.parametrize("dtype", [getattr(torch, name) for name in wire.DTYPES], ids=wire.DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 5), (4, 3, 2)])
def test_a_tensor_arrives_with_dtype_shape_and_bits(dtype, shape):
    tensor = (torch.rand(shape) * 100 - 30).to(dtype)
    back = cross(tensor)
    assert back.dtype == dtype
    assert back.shape == tensor.shape
    assert torch.equal(back, tensor)


def test_a_strided_view_arrives_as_its_values():
    matrix = torch.arange(12.0).reshape(3, 4)
    assert torch.equal(cross(matrix.t()[1:]), matrix.t()[1:])


def test_a_message_of_too_many_values_is_refused_before_they_are_made():
    many = wire.MAX_VALUES
    with pytest.raises(wire.WireError, match=r"more than 1,048,576 values; send them as a tensor"):
        wire.encode([0] * (many + 1))
    tree = b'{"v":[' + b"[]," * (many // 2) + b'1],"b":[]}'
    with pytest.raises(wire.WireError, match="too many values"):
        wire.decode(tree, memoryview(b""))
    assert len(cross([0] * (many // 2))) == many // 2
    # What is text holds no values, whatever it looks like, and cannot hide any.
    text = '[,]{"\\"' * (many // 2)
    assert cross(text) == text
    with pytest.raises(wire.WireError, match="too many values"):
        wire.decode(b'{"v":["\\"",' + tree[6:], memoryview(b""))


def test_text_without_an_end_goes_to_the_end():
    """Else each of its quotes might begin a text, whose end is looked for: hours, for 16 MiB of them."""
    with pytest.raises(wire.WireError, match="malformed message"):
        wire.decode(b'"' + b'\\"' * 1000 + b"," * (wire.MAX_VALUES + 1), memoryview(b""))


@pytest.mark.parametrize("dtype", ["<f8", ">f8", ">i4", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize(
    "turn", [np.asfortranarray, lambda x: x[::-1], lambda x: x[:, ::-2], lambda x: x[:0]]
)
def test_an_array_arrives_as_its_values_whatever_its_memory_is_like(dtype, turn):
    array = turn(np.arange(12).reshape(3, 4).astype(dtype))
    back = cross(array).numpy()
    assert back.dtype == array.dtype.newbyteorder("=")
    assert np.array_equal(back, array)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_column_of_few_rows_arrives(count):
    column = torch.arange(2 * count).view(count, 2)[:, 1]
    assert torch.equal(cross(column), column)


def test_nan_and_infinity_survive_in_tensors_and_numbers():
    back = cross([float("nan"), float("-inf"), torch.tensor([float("nan"), float("inf")])])
    assert math.isnan(back[0])
    assert back[1] == -math.inf
    assert torch.equal(back[2].isnan(), torch.tensor([True, False]))


def test_subclasses_drop_to_their_base_so_that_no_method_of_a_student_crosses():
    class Int(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    class Lying(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            return torch.ones(())

    assert type(cross(Int(7))) is int
    assert cross(Int(7)) != 8
    tensor = torch.zeros(3).as_subclass(torch.nn.Parameter)
    assert type(cross(tensor)) is torch.Tensor
    assert type(cross(np.float64(0.5))) is float
    assert torch.equal(cross(np.arange(3)), torch.arange(3))


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a": {3}}, lambda: 0, torch.eye(2).to_sparse()])
def test_what_is_not_plain_data_is_refused_where_it_is_sent(value):
    with pytest.raises(wire.WireError):
        wire.encode(value)


def frame(tree, blob=b""):
    return json.dumps(tree).encode(), memoryview(blob)


@pytest.mark.parametrize(
    "tree",
    [
        {"v": {"T": 0, "dtype": "float32", "shape": [2]}, "b": [4]},  # too few bytes for the shape
        {"v": {"T": 0, "dtype": "float32", "shape": [-1]}, "b": [4]},
        {"v": {"T": -1, "dtype": "float32", "shape": [1]}, "b": [4]},
        {"v": {"T": 0, "dtype": "object", "shape": [1]}, "b": [4]},
        {"v": {"T": 0, "dtype": "float32", "shape": [1 << 62, 1 << 62]}, "b": [4]},
        {"v": {"T": 0, "dtype": "float32", "shape": [True]}, "b": [4]},
        {"v": {"f": 3}, "b": [4]},
        {"v": {"f": "0x0p0", "i": "0x1"}, "b": [4]},
        {"v": {"q": 1}, "b": [4]},
        {"v": {"d": [[1, 2]]}, "b": [4]},
        {"v": 1.5, "b": [4]},
        {"v": 1, "b": [5]},
        {"v": 1, "b": [9, -5]},
        {"v": 1},
        [],
        7,
    ],
)
def test_a_forged_message_is_refused_and_never_raises_anything_else(tree):
    with pytest.raises(wire.WireError):
        wire.decode(*frame(tree, b"\0\0\0\0"))


def test_a_deeply_nested_message_is_refused():
    text = b'{"v":' + b"[" * 100_000 + b"]" * 100_000 + b',"b":[]}'
    with pytest.raises(wire.WireError):
        wire.decode(text, memoryview(b""))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_but_a_wire_error(data):
    try:
        wire.decode(data, memoryview(b""))
    except wire.WireError:
        return


def test_an_announced_size_over_the_limit_is_refused_before_any_memory_is_taken():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(struct.pack("<IQ", 10, wire.MAX_BLOBS + 1))
        with pytest.raises(wire.WireError, match="limit"):
            wire.receive(ours)


@pytest.mark.parametrize("ahead", [0, 1, 4096])
def test_frames_that_arrive_byte_by_byte_are_put_together(ahead):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        data = wire.encode({"x": torch.arange(5), "y": "z"})
        frames, got = wire.Frames(ahead=ahead), None
        for byte in data:
            assert got is None
            theirs.sendall(bytes([byte]))
            got = frames.receive(ours)
        assert torch.equal(got[0]["x"], torch.arange(5))
        assert frames.idle


@pytest.mark.parametrize("ahead", [0, 1, 13, 4096])
def test_frames_that_arrive_in_one_piece_lose_and_mix_nothing(ahead):
    ours, theirs = socket.socketpair()
    values = [{"x": torch.arange(n), "y": "z" * n} for n in (0, 3, 1, 900, 2)]
    with ours, theirs:
        theirs.sendall(b"".join(map(wire.encode, values)))
        frames, found = wire.Frames(ahead=ahead), []
        while len(found) < len(values):
            found += frames.receive(ours) or ()
        assert frames.idle
    assert [one["y"] for one in found] == [one["y"] for one in values]
    assert all(torch.equal(one["x"], right["x"]) for one, right in zip(found, values, strict=True))


@pytest.mark.parametrize("line", range(16))
def test_an_interrupt_between_two_lines_of_a_frame_that_waits_loses_nothing_of_it(line):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        long, later = "long " * 2000, {"x": "later"}
        theirs.sendall(b"".join(map(wire.encode, ["first", long, later])))
        frames, found, lines = wire.Frames(ahead=4096), [], []

        def interrupt(frame, event, _):
            if frame.f_code is wire.Frames._begin.__code__ and event == "line":
                lines.append(frame.f_lineno)
                if len(lines) == line + 1:
                    raise KeyboardInterrupt
            return interrupt

        found += frames.receive(ours)
        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            found += frames.receive(ours) or ()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        while len(found) < 3:
            found += frames.receive(ours) or ()
    assert found == ["first", long, later]
