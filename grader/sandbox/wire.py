"""Messages between examiner and worker: one JSON tree and raw blobs; nothing is ever unpickled.

A frame is `<I` length of the JSON, `<Q` length of all blobs, the JSON, the blobs. Plain values stand for
themselves; everything else is an object with one tag. A subclass of int, str or Tensor arrives as its base,
without the methods that a submission gave it.
"""

from __future__ import annotations

import json
import math
import re
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from grader.later import torch, torch_class

HEAD = struct.Struct("<IQ")
MAX_JSON = 16 << 20
MAX_BLOBS = 256 << 20
MAX_COUNT = 1 << 16  # blobs in one message
MAX_VALUES = 1 << 20  # commas and brackets in one message: each may be an object of 100 bytes to Python
MAX_HEX = 3500  # digits of an integer; Python refuses to print what has more than 4,300 decimal ones
MAX_DEPTH = 50
DTYPES = ("float32", "float64", "float16", "bfloat16", "complex64", "complex128")
DTYPES += ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")


_MARKS = (b",", b"[", b"{")
# Strings, in which marks are no values; one without an end goes to the end, or many of them would be searched again.
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
# What reading a message that nobody checked may raise.
MALFORMED = (ValueError, KeyError, TypeError, RuntimeError, IndexError, OverflowError, AttributeError)


class Closed(EOFError):
    """The other side has closed the connection; another EOFError is one of the code that runs meanwhile."""


class WireError(Exception):
    """A message that is malformed, too large, or holds what may not cross."""


def encode(value: Any) -> bytes:
    """Return the frame of `value`; raises WireError for what is not plain data or a dense CPU tensor."""
    blobs: list[memoryview] = []
    return pack(_encode(value, blobs, 0), blobs)


def pack(value: Any, blobs: Sequence[memoryview]) -> bytes:
    """Return the frame of a tree that JSON can hold and of the blobs that it names by number."""
    tree = json.dumps({"v": value, "b": [b.nbytes for b in blobs]}).encode()
    total = sum(b.nbytes for b in blobs)
    if has_too_many(tree):
        raise WireError(f"the value holds more than {MAX_VALUES:,} values; send them as a tensor")
    if len(tree) > MAX_JSON or total > MAX_BLOBS:
        raise WireError(f"the value is larger than {MAX_BLOBS >> 20} MiB, which is the limit for one message")
    return b"".join([HEAD.pack(len(tree), total), tree, *blobs])


def unpack(tree: bytes | bytearray, blobs: memoryview) -> tuple[Any, list[memoryview]]:
    """Return the tree of a frame and its blobs; raises WireError where they are malformed."""
    if has_too_many(tree):
        raise WireError("a message of too many values")
    try:
        message = json.loads(tree.decode())  # by itself it looks for three encodings first
        sizes = message["b"]
        if len(sizes) > MAX_COUNT or sum(sizes) != blobs.nbytes or any(size < 0 for size in sizes):
            raise WireError("blob sizes do not add up")
        parts, start = [], 0
        for size in sizes:
            parts.append(blobs[start : start + size])
            start += size
        return message["v"], parts
    except MALFORMED as error:
        raise WireError(f"malformed message: {type(error).__name__}") from None


def decode(tree: bytes | bytearray, blobs: memoryview) -> Any:
    """Return the value of a frame; raises WireError for anything that `encode` would not have written."""
    value, parts = unpack(tree, blobs)
    try:
        return _decode(value, [*parts], 0)
    except MALFORMED as error:
        raise WireError(f"malformed message: {type(error).__name__}") from None


def has_too_many(tree: bytes | bytearray) -> bool:
    """Return whether a tree has more values than may cross, before they are made: two bytes become a hundred."""
    if sum(map(tree.count, _MARKS)) <= MAX_VALUES:
        return False
    tree = _STRINGS.sub(b"", tree)
    return sum(map(tree.count, _MARKS)) > MAX_VALUES


class Frames:
    """Assembles frames from the bytes that arrive on a socket, in whatever pieces they come."""

    def __init__(
        self, decode: Callable[[bytes | bytearray, memoryview], Any] = decode, *, ahead: int = 0
    ) -> None:
        """One read may take `ahead` bytes beyond a frame's head: a whole frame, where frames are short.

        What is read of the next frame waits here, so nobody may wait for the socket to become readable, nor expect
        anything else than frames on it.
        """
        self._decode, self._ahead = decode, ahead
        self._head = bytearray()
        self._body: bytearray | None = None
        self._filled = 0
        self._json = 0

    @property
    def idle(self) -> bool:
        """True between two frames."""
        return self._body is None and not self._head

    def receive(self, sock: socket.socket) -> Any:
        """Read once from `sock`. Returns None while the frame is incomplete, else a one-element tuple.

        Raises Closed when the other side closed, WireError when what it sent cannot be a frame.
        """
        if self._body is None:
            if not self._begin(sock):
                # One read per call: a second one would wait for a worker that stops after the head.
                return None
        else:
            count = sock.recv_into(memoryview(self._body)[self._filled :])
            if not count:
                raise Closed
            self._filled += count
        body = self._body
        if body is None or self._filled < len(body):
            return None
        self._body = None
        return (self._decode(body[: self._json], memoryview(body)[self._json :]),)

    def _begin(self, sock: socket.socket) -> bool:
        """Read the head of a frame, and with it what may be read ahead; return whether that can be all of it."""
        if len(self._head) < HEAD.size:
            data = sock.recv(HEAD.size + self._ahead - len(self._head))
            if not data:
                raise Closed
            self._head += data
            if len(self._head) < HEAD.size:
                return False
        self._json, blobs = HEAD.unpack_from(self._head)
        if self._json > MAX_JSON or blobs > MAX_BLOBS:
            raise WireError("announced a message over the size limit")
        if self._json == 0:
            raise WireError("announced an empty message")
        body = bytearray(self._json + blobs)
        taken = self._head[HEAD.size : HEAD.size + len(body)]
        body[: len(taken)] = taken
        # At once: an interrupt while a large body is made must not lose its head and take what follows for one.
        self._body, self._filled, self._head = body, len(taken), self._head[HEAD.size + len(taken) :]
        return self._filled > 0


def receive(sock: socket.socket) -> Any:
    """Block until one whole frame has come and return its value."""
    frames = Frames()
    while (message := frames.receive(sock)) is None:
        pass
    return message[0]


def _encode(value: Any, blobs: list[memoryview], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise WireError(f"the value is nested more than {MAX_DEPTH} deep")
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int.__index__(value)
        if number.bit_length() > 4 * (MAX_HEX - 3):
            raise WireError("an integer of more than 4,200 digits cannot cross to the examiner")
        return number if abs(number) < 1 << 53 else {"i": hex(number)}
    if isinstance(value, float):
        return {"f": float.hex(float.__float__(value))}
    if isinstance(value, (bytes, bytearray)):
        blobs.append(memoryview(bytes(value)))
        return {"y": len(blobs) - 1}
    if isinstance(value, (list, tuple)):
        items = [_encode(item, blobs, depth + 1) for item in value]
        return {"t": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise WireError("only str may be the key of a dictionary that crosses to the examiner")
        return {"d": [[str(key), _encode(item, blobs, depth + 1)] for key, item in value.items()]}
    if isinstance(value, np.generic):
        return _encode(value.item(), blobs, depth + 1)
    if isinstance(value, np.ndarray):
        # Strides may be negative, and bytes in another machine's order.
        return _encode_tensor(torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("="))), blobs)
    if isinstance(value, torch_class("Tensor")):
        return _encode_tensor(value, blobs)
    raise WireError(f"a value of type {type(value).__name__} cannot cross to the examiner")


def _encode_tensor(value: torch.Tensor, blobs: list[memoryview]) -> dict[str, Any]:
    name = str(value.dtype).removeprefix("torch.")
    if value.layout is not torch.strided or name not in DTYPES:
        raise WireError(f"a tensor of layout {value.layout} and dtype {value.dtype} cannot cross")
    plain = value.detach().as_subclass(torch.Tensor).cpu()
    plain = plain.resolve_conj().resolve_neg().contiguous()
    shape = list(plain.shape)
    # One number counts as contiguous with any stride, and only a stride of 1 can be seen as bytes.
    flat = plain.as_strided((plain.numel(),), (1,))
    array = flat.view(torch.uint8).numpy() if plain.numel() else np.empty(0, np.uint8)
    blobs.append(array.data)
    return {"T": len(blobs) - 1, "dtype": name, "shape": shape}


def _decode(node: Any, blobs: list[memoryview | None], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise WireError("nested too deep")
    if node is None or type(node) in (bool, int):
        return node
    if type(node) is str:
        return _text(node)
    if type(node) is list:
        return [_decode(item, blobs, depth + 1) for item in node]
    if type(node) is not dict:
        raise WireError(f"a bare {type(node).__name__}")
    if "T" in node:
        return _decode_tensor(node, blobs)
    (tag, body), *rest = node.items()
    if rest:
        raise WireError("an object with several tags")
    match tag:
        case "f":
            return float.fromhex(body)
        case "i":
            if len(body) > MAX_HEX:
                raise WireError("an integer of too many digits")
            return int(body, 16)
        case "y":
            return bytes(_take(blobs, body))
        case "t":
            return tuple(_decode(item, blobs, depth + 1) for item in body)
        case "d":
            return {_text(key): _decode(item, blobs, depth + 1) for key, item in body}
    raise WireError("an unknown tag")


def _decode_tensor(node: dict[str, Any], blobs: list[memoryview | None]) -> torch.Tensor:
    shape = node["shape"]
    if type(shape) is not list or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape):
        raise WireError("a shape that is no shape")
    name, blob = _text(node["dtype"]), _take(blobs, node["T"])
    if name not in DTYPES:
        raise WireError("a dtype that is none")
    dtype = getattr(torch, name)
    count = math.prod(shape)
    if count * dtype.itemsize != blob.nbytes or len(shape) > 32:
        raise WireError("a tensor whose bytes do not fill its shape")
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    # Its own memory: blobs need not be aligned. A bool of any other byte than 0 and 1 is not a bool.
    tensor = torch.frombuffer(bytearray(blob), dtype=dtype).reshape(shape)
    return tensor.view(torch.uint8).ne(0) if dtype is torch.bool else tensor


def _take(blobs: list[memoryview | None], index: Any) -> memoryview:
    if type(index) is not int or index < 0 or (blob := blobs[index]) is None:
        raise WireError("a blob index that is none, or stands twice")
    # Each decoding is a copy: one blob under many names would fill the reader's memory.
    blobs[index] = None
    return blob


def _text(value: Any) -> str:
    if type(value) is not str:
        raise WireError("a key that is no text")
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which no file and no page can hold
        return value.encode("utf-8", "replace").decode()
    return value
