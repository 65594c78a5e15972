"""What a call changed without returning it: mutable arguments, and the generators that all code shares."""

from __future__ import annotations

import ctypes
import importlib.util
import random
import struct
import sys
import types
from typing import Any

import numpy as np

from grader.later import imported_torch, torch, torch_class
from grader.notebooks.twin.values import Reference

_MT19937 = 4 * 625  # bytes of its state: the key, and where in it the next number is
_OBJECT = object.__basicsize__  # bytes of what each object of Python's begins with


def random_state() -> dict[str, Any]:
    """Return the state of every generator that code shares without naming it."""
    kind, keys, *rest = np.random.get_state()
    found = {"random": random.getstate(), "numpy": (kind, keys, *rest)}
    return found | ({"torch": library.get_rng_state()} if (library := imported_torch()) else {})


def same(one: Any, two: Any) -> bool:
    """Return whether two states of one generator are equal."""
    if isinstance(one, torch_class("Tensor")):
        return torch.equal(one, two)
    if isinstance(one, tuple) and len(one) == 5:
        return np.array_equal(one[1], two[1]) and one[2:] == two[2:]
    return one == two


class _FirstState:
    """The state that torch's generator has when torch has just been imported here, where it is imported later.

    It is drawn at random: neither drawing nor seeding, so no news for the other side, which has drawn its own.
    """

    def __init__(self) -> None:
        self.state: Any = None
        if "torch" not in sys.modules:
            sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Let others find torch, and note the state once they have loaded it."""
        if name != "torch" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_note(module: types.ModuleType) -> None:
                load(module)
                if hasattr(module, "get_rng_state"):
                    self.state = module.get_rng_state()

            spec.loader.exec_module = load_and_note
        return spec


class Generators:
    """The generators that all code shares, as they were when somebody looked last; with every call somebody looks."""

    def __init__(self) -> None:
        self._first = _FirstState()
        self.note()

    def note(self) -> None:
        """Take them as they are for what is known."""
        self.state = random_state()
        # A second normal number waits in numpy's own for who draws next, and nothing else changes then.
        self._waits = _is_usual() and bool(self.state["numpy"][3])
        self._marks = self._look()

    def changed(self) -> dict[str, Any]:
        """Return the state of each that has changed, and take note of it."""
        if self._look() == self._marks:
            return {}
        before = self.state
        self.note()
        if "torch" in self.state and "torch" not in before:
            before["torch"] = self.state["torch"] if self._first.state is None else self._first.state
        return {kind: value for kind, value in self.state.items() if not same(before[kind], value)}

    def _look(self) -> tuple[Any, ...]:
        """Return what differs where they do, for less than a third of the time that `random_state` takes."""
        bits = np.random.get_bit_generator()
        numpy: Any = id(bits)
        if self._waits and _is_usual():
            kind, keys, *rest = np.random.get_state()
            numpy = kind, keys.tobytes(), rest
        elif _is_usual():
            numpy = ctypes.string_at(bits.ctypes.state_address, _MT19937)
        library = imported_torch()
        return _look_at_random(), numpy, library.get_rng_state().numpy().tobytes() if library else b""


def _own_random() -> Any:
    """Return the generator behind the functions of `random`, where they are as they have always been; else None."""
    return getattr(random.random, "__self__", None)


def _look_at_random() -> Any:
    """Return what differs where the state of `random` does: the 625 words behind the object's head, if it has them.

    `random.getstate` makes an integer of each, which takes ten times as long.
    """
    own = _own_random()
    if own is None or id(own) != _PLAIN_RANDOM:
        return random.getstate()
    return ctypes.string_at(id(own) + _OBJECT, _MT19937), own.gauss_next


def _plain_random() -> int:
    """Return where the generator of `random` is, if its state lies as CPython has it; else 0."""
    own = _own_random()
    if type(own) is not random.Random:
        return 0
    words = struct.unpack("625I", ctypes.string_at(id(own) + _OBJECT, _MT19937))
    _, (*key, place), _ = own.getstate()
    return id(own) if words == (place, *key) else 0


_PLAIN_RANDOM = _plain_random()


def _is_usual() -> bool:
    return type(np.random.get_bit_generator()) is np.random.MT19937


def set_random_state(state: dict[str, Any]) -> None:
    """Set what `random_state` returned on the other side."""
    if "random" in state:
        random.setstate(state["random"])
    if "numpy" in state:
        np.random.set_state(state["numpy"])
    if "torch" in state:
        torch.set_rng_state(state["torch"])


def put_back(original: Any, new: Any) -> None:
    """Give a mutable argument the contents that it has on the other side, keeping its identity and its parts'."""
    if original is new or type(original) is not type(new):
        return
    if isinstance(original, list):
        both = zip(original, new, strict=False)
        original[:] = [_keep_or_replace(old, fresh) for old, fresh in both] + new[len(original) :]
    elif isinstance(original, (set, bytearray)):
        original.clear()
        original |= new
    elif isinstance(original, dict):
        items = {key: _keep_or_replace(original.get(key), value) for key, value in new.items()}
        original.clear()
        original.update(items)
    elif isinstance(original, np.ndarray) and original.shape == new.shape:
        original[...] = new
    elif isinstance(original, torch_class("Tensor")) and original.shape == new.shape:
        with torch.no_grad():
            original.copy_(new)
    elif isinstance(original, np.random.Generator):
        original.bit_generator.state = new.bit_generator.state
    elif hasattr(original, "__dict__") and not isinstance(
        original, (type, types.FunctionType, types.ModuleType)
    ):
        put_back(vars(original), vars(new))


def is_mutable(value: Any) -> bool:
    """Return whether a call may change the value while it stays the same object, and `put_back` can follow."""
    return isinstance(value, (list, dict, set, bytearray, np.ndarray, torch_class("Tensor")))


def _keep_or_replace(old: Any, new: Any) -> Any:
    fits = type(old) is type(new) and (
        not isinstance(old, (np.ndarray, torch_class("Tensor"))) or old.shape == new.shape
    )
    if not fits or not (is_mutable(old) or hasattr(old, "__dict__")) or isinstance(old, Reference):
        return new
    put_back(old, new)
    return old
