"""What runs in the workers of a kernel: it imports nothing of ours, and its text goes there as a file.

`compiled` and `interpreted` run beside the student's module and are trusted for nothing. `card` runs in a worker that
has the GPU and no file of a student's; it drives the card through libcuda, by ctypes: see the CUDA driver API.
"""

from __future__ import annotations

import ctypes
import importlib
import inspect
import os
import re
import sys
import time
import traceback
import types
import warnings
from collections.abc import Mapping, Sequence
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import torch

SETTINGS = ("constants", "grid", "num_stages", "num_warps", "shared")  # what a plan may say
NO_GPU = "there is no GPU where a kernel is compiled"
SCALARS = {"i32": ctypes.c_int32, "i64": ctypes.c_int64, "fp32": c_float}


# --- beside the student's module --------------------------------------------------------------------------------


def compiled(
    target: str,
    kinds: Sequence[str],
    hints: Sequence[int],
    settings: Mapping[str, Any],
    plan: Sequence[Any],
    capability: int,
    version: str,
) -> dict[str, Any]:
    """Return the PTX of the kernel `"module:name"`, which is one of Triton's or the text itself, and its settings.

    `kinds` are Triton's types of the arguments, `hints` the places of those that are multiples of 16, `settings`
    those of SETTINGS that the check gives, `plan` the name of the student's function that gives the others, and its
    arguments. `capability` (90) and `version` (CUDA's, "12.4"; "": the compiler's own) say for which card and
    driver.
    """
    # Lines of source in the text are of no use to the examiner, and triple its size.
    os.environ.update(TRITON_CACHE_DIR=os.path.abspath("triton"), TRITON_DISABLE_LINE_INFO="1")
    module, found = _found(target)
    told = _planned(module, settings, plan)
    if isinstance(found, str):
        return {**told, "ptx": found, "interpreted": False}
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.backends.nvidia.compiler import get_ptx_version_from_options, ptx_get_version
    from triton.compiler import ASTSource
    from triton.compiler.errors import CompilationError as Theirs
    from triton.runtime.jit import JITFunction

    if not isinstance(found, JITFunction):
        raise TypeError(f"{target.partition(':')[2]} {_what_it_is(found)}")
    if "NotImplementedError" in found.fn.__code__.co_names:  # a stub, which Triton cannot compile
        raise NotImplementedError(f"not implemented yet: {target.partition(':')[2]}")
    names, constants = list(found.arg_names), told["constants"]
    defaults = {one.name: one.default for one in found.params if one.is_constexpr and one.has_default}
    constants = {**defaults, **constants}
    places = [place for place, name in enumerate(names) if name not in constants]
    if len(places) != len(kinds) or not constants.keys() <= set(names):
        raise TypeError(
            f"{target} is given {len(kinds)} arguments and the constants {sorted(constants)}; it takes {names}"
        )
    signature = {
        **dict.fromkeys(names, "constexpr"),
        **{names[p]: k for p, k in zip(places, kinds, strict=True)},
    }
    for parameter in found.params:
        if parameter.name in constants and not parameter.is_constexpr:
            raise TypeError(
                f"{parameter.name} is to be known to the compiler: write {parameter.name}: tl.constexpr"
            )
    attributes = {(places[number],): [["tt.divisibility", 16]] for number in hints}
    options = {name: told[name] for name in ("num_warps", "num_stages") if name in told}
    if version:  # the driver may be older than the compiler, and newer than its assembler
        own = get_ptx_version_from_options(types.SimpleNamespace(ptx_version=None), capability)
        options["ptx_version"] = min(own, ptx_get_version(version))
    source = ASTSource(fn=found, signature=signature, constexprs=constants, attrs=attributes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a default that the next version changes
        try:
            result = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        except Theirs as error:
            raise _with_its_place(error, module, Theirs) from None
        except RuntimeError as error:
            raise RuntimeError(_plainly(str(error))) from None
    if scratch := result.metadata.global_scratch_size + result.metadata.profile_scratch_size:
        raise ValueError(f"{target} asks for {scratch} bytes of scratch memory, which a launch does not give")
    if (ctas := result.metadata.num_ctas) != 1:
        raise ValueError(f"{target} asks for {ctas} blocks in a cluster, which a launch does not give")
    warps = {"num_warps": result.metadata.num_warps, "shared": result.metadata.shared}
    return {**told, **warps, "ptx": result.asm["ptx"], "interpreted": True}


def interpreted(
    target: str,
    image: torch.Tensor,
    arguments: Sequence[Any],
    grid: Sequence[int],
    constants: Mapping[str, Any],
) -> torch.Tensor:
    """Run a kernel of Triton's in its interpreter on `image` (uint8, any size), and return that as it then is.

    `arguments` are numbers, or (first byte, shape, dtype) of a tensor that lies in the image.
    """
    # @triton.jit asks when a module is imported, and Triton's own may have been imported ahead, for all workers.
    os.environ["TRITON_INTERPRET"] = "1"
    for name in [name for name in sys.modules if re.fullmatch(r"triton(\..*)?", name)]:
        if not name.startswith("triton._C"):  # it is machine code, and can be loaded once
            del sys.modules[name]
    module, kernel = _found(target)
    given = [_tensor(image, *one) if isinstance(one, tuple) else one for one in arguments]
    try:
        kernel[tuple(grid)](*given, **constants)
    except Exception as error:
        # Triton's own says neither the kind nor the place of what it was raised from.
        if type(error).__name__ == "InterpreterError" and error.__cause__ is not None:
            error = error.__cause__
        if "None" in str(error) and b"libdevice" in Path(module.__file__).read_bytes():
            # All its functions are None there.
            why = f"without a GPU kernels run in Triton's interpreter, which has no libdevice: {error}"
            raise RuntimeError(why).with_traceback(error.__traceback__) from None
        raise error from None
    return image


class CompilationError(SyntaxError):
    """What Triton's compiler says, with the line that it is about in place of an excerpt of twelve."""


def _with_its_place(error: Any, module: Any, kind: type[Exception]) -> CompilationError:
    while isinstance(error.__cause__, kind):  # a helper's, of which the kernel's own says nothing
        error = error.__cause__
    why = str(error.error_message or error.__cause__ or "").strip() or _asserted(error.__cause__)
    if found := re.search(r"'(\w+)' object has no attribute '__name__'", why):  # of a table of operators
        why = f"Triton has no operator {found[1]}" + ": use tl.dot" * (found[1] == "MatMult")
    text = inspect.getsource(module)
    first = text.find(error.src) if error.src else -1
    line = text.count("\n", 0, first) + getattr(error.node, "lineno", 1) if first >= 0 else 0
    code = text.splitlines()[line - 1] if line else ""
    if why.endswith("is not string") and "print(" in code:  # it is taken for tl.device_print
        why = "a kernel that is launched elsewhere prints nothing: print only while you try it in the interpreter"
    return CompilationError(why, (module.__file__ if line else "", line, 0, code))


def _asserted(cause: BaseException | None) -> str:
    """Return what Triton asserts and says nothing about: the line of its own that did."""
    frames = traceback.extract_tb(cause.__traceback__) if cause else []
    line = (frames[-1].line or "") if frames else ""
    return line.replace("assert ", "Triton asks that ", 1)


def _what_it_is(found: Any) -> str:
    kind = type(found).__name__
    if kind == "InterpretedFunction":
        return "is made for the interpreter: do not set TRITON_INTERPRET in the module, but in the shell"
    if kind in ("Autotuner", "Heuristics"):
        return f"has another decorator around @triton.jit ({kind}): the check gives every setting"
    if callable(found):
        return f"is a {kind} without @triton.jit"
    return f"is a {kind}, no function with @triton.jit"


def _plainly(why: str) -> str:
    """Return what the student can do something about, where the compiler's words do not say it."""
    if found := re.search(
        r"Unsupported function referenced: <(?:built-in )?(?:function|method|ufunc) '?(\w+)", why
    ):
        return f"the kernel calls {found[1]}, no function of Triton's: use tl's own; a helper needs @triton.jit too"
    if "PassManager" in why:
        return f"Triton's compiler gives up ({why}). Does a kernel return a value? It has to store it"
    return why


def _found(target: str) -> tuple[Any, Any]:
    name, _, kernel = target.partition(":")
    try:
        module = importlib.import_module(name)
    except RuntimeError as error:
        if "active drivers" in str(error):
            error.args = (f"{NO_GPU}: no launch, and no question for a device, while the module is imported",)
        raise
    if not hasattr(module, kernel):
        raise AttributeError(f"{name}.py defines no {kernel}")
    return module, getattr(module, kernel)


def _planned(module: Any, settings: Mapping[str, Any], plan: Sequence[Any]) -> dict[str, Any]:
    """Return the check's settings, and the student's where the check leaves them open."""
    told: dict[str, Any] = {"constants": {}, **settings}
    if plan:
        name, *arguments = plan
        own = getattr(module, name)(*arguments)
        if not isinstance(own, dict) or not own.keys() <= set(SETTINGS):
            raise TypeError(f"{name} must return a dictionary with keys of {', '.join(SETTINGS)}")
        constants = {**own.get("constants", {}), **told["constants"]}
        told = {**own, **told, "constants": constants}
    return told


def _tensor(image: torch.Tensor, first: int, shape: Sequence[int], dtype: str) -> torch.Tensor:
    kind = getattr(torch, dtype)
    size = kind.itemsize
    for length in shape:
        size *= length
    return image[first : first + size].view(kind).reshape(shape)


# --- beside nothing, on the card --------------------------------------------------------------------------------

EMPTY = ".version 6.5 .target sm_75 .address_size 64 .visible .entry nothing() { ret; }"
EMPTIES = 20  # launches of it, of which the upper quartile says what a launch costs the host
_SPIN = 1  # of cuCtxCreate: who waits looks again and again, so that the host's clock is a fine one
_MAJOR, _MINOR, _L2, _PAGEABLE = 75, 76, 38, 88  # of CUdevice_attribute
_MOST_SHARED = 8  # of CUfunction_attribute: bytes of dynamic shared memory, 48 KiB where nobody asks for more
_LOG, _LOG_SIZE = 5, 6  # of CUjit_option: what the driver says of a text that it does not take
_kept: dict[str, Any] = {}


class CudaError(Exception):
    """A call of the driver's has failed."""


def card(what: str, *told: Any) -> dict[str, Any]:
    """Do what the examiner asks, "begin", "load" or "launch"; return `{"error": why}` where the driver refuses."""
    try:
        return {"begin": _begin, "load": _load, "launch": _launch}[what](*told)
    except CudaError as error:
        return {"error": str(error)}


def _cuda(name: str, *arguments: Any, log: Any = None) -> None:
    """Call a function of libcuda; raises CudaError with its name and the driver's words."""
    library = _kept["library"]
    code = getattr(library, name)(*arguments)
    if code:
        kind, words = c_char_p(), c_char_p()
        library.cuGetErrorName(code, byref(kind))
        library.cuGetErrorString(code, byref(words))
        said = [(one.value or b"").decode(errors="replace") for one in (kind, words)]
        more = " ".join(log.value.decode(errors="replace").split())[:500] if log is not None else ""
        raise CudaError(f"{said[0] or code}, {said[1]}" + (f": {more}" if more else ""))


def _begin(library: str, flush: int) -> dict[str, Any]:
    """Make a context on the card, with `flush` bytes that are written before each launch; return facts of it."""
    # Kernels are loaded before a launch, which is timed, and none that an earlier process has compiled.
    os.environ.update(CUDA_MODULE_LOADING="EAGER", CUDA_CACHE_DISABLE="1")
    try:
        _kept["library"] = ctypes.CDLL(library)
    except OSError as error:
        raise CudaError(f"the driver's library cannot be loaded: {error}") from None
    device, version = c_int(), c_int()
    _cuda("cuInit", 0)
    _cuda("cuDriverGetVersion", byref(version))
    _cuda("cuDeviceGet", byref(device), 0)
    _cuda("cuCtxCreate_v2", byref(c_void_p()), c_uint(_SPIN), device)
    facts = [c_int() for _ in range(4)]
    for fact, attribute in zip(facts, (_MAJOR, _MINOR, _L2, _PAGEABLE), strict=True):
        _cuda("cuDeviceGetAttribute", byref(fact), attribute, device)
    _kept.update(functions=[], flush=c_uint64(), words=flush // 4, events=[c_void_p(), c_void_p()])
    _cuda("cuMemAlloc_v2", byref(_kept["flush"]), c_size_t(flush))
    for event in _kept["events"]:
        _cuda("cuEventCreate", byref(event), 0)
    nothing = _load(EMPTY, "nothing", 0)["kernel"]
    costs = [_timed(nothing, (1, 1, 1), 32, 0, None)[1] for _ in range(EMPTIES)]
    # Not the longest: on a busy machine it says nothing of a launch, and would be a gift to who forges events.
    _kept["cost"] = sorted(costs)[3 * EMPTIES // 4]
    major, minor, cache, pageable = (fact.value for fact in facts)
    return {
        "capability": 10 * major + minor,
        "version": f"{version.value // 1000}.{version.value % 1000 // 10}",
        "cache": cache,
        "reaches the host": bool(pageable),
    }


def _load(text: str, name: str, shared: int) -> dict[str, Any]:
    """Let the driver compile a text of PTX, and return the number of its kernel `name`."""
    module, function, log = c_void_p(), c_void_p(), ctypes.create_string_buffer(4096)
    options = (c_int * 2)(_LOG, _LOG_SIZE)
    values = (c_void_p * 2)(ctypes.addressof(log), len(log))
    _cuda("cuModuleLoadDataEx", byref(module), c_char_p(text.encode()), c_uint(2), options, values, log=log)
    _cuda("cuModuleGetFunction", byref(function), module, c_char_p(name.encode()))
    if shared:
        _cuda("cuFuncSetAttribute", function, _MOST_SHARED, shared)
    _kept["functions"].append(function)
    return {"kernel": len(_kept["functions"]) - 1}


def _launch(
    kernel: int,
    image: torch.Tensor,
    arguments: Sequence[tuple[str, Any]],
    grid: Sequence[int],
    threads: int,
    shared: int,
) -> dict[str, Any]:
    """Launch once on a copy of `image` (uint8), and return it as it then is, and the seconds that this took.

    An argument is its kind and its value; for a tensor, kind "*", the first byte in the image. The seconds are the
    card's, between two events. They lie where a kernel may reach, so the host's count where they are more, less what
    a launch of nothing costs it; the host, too, hears of the end through memory that the card writes.
    """
    block, size = c_uint64(), c_size_t(image.numel())
    _cuda("cuMemAlloc_v2", byref(block), size)
    _cuda("cuMemcpyHtoD_v2", block, c_void_p(image.data_ptr()), size)
    values = [
        c_uint64(block.value + value) if kind == "*" else SCALARS[kind](value) for kind, value in arguments
    ]
    places = (c_void_p * len(values))(*map(ctypes.addressof, values))
    on_card, on_host = _timed(kernel, grid, threads, shared, places)
    back = torch.empty_like(image)
    _cuda("cuMemcpyDtoH_v2", c_void_p(back.data_ptr()), block, size)
    _cuda("cuMemFree_v2", block)
    return {"image": back, "seconds": max(on_host - _kept["cost"], on_card)}


def _timed(kernel: int, grid: Sequence[int], threads: int, shared: int, places: Any) -> tuple[float, float]:
    """Launch with nothing of use in the card's caches; return seconds by its events, and by the host's clock."""
    begin, end = _kept["events"]
    if hasattr(_kept["library"], "cuCtxResetPersistingL2Cache"):
        _cuda("cuCtxResetPersistingL2Cache")
    _cuda("cuMemsetD32_v2", _kept["flush"], c_uint(1), c_size_t(_kept["words"]))
    _cuda("cuCtxSynchronize")
    dimensions = [c_uint(number) for number in (*grid, threads, 1, 1, shared)]
    function = _kept["functions"][kernel]
    started = time.perf_counter()
    _cuda("cuEventRecord", begin, None)
    _cuda("cuLaunchKernel", function, *dimensions, None, places, None)
    _cuda("cuEventRecord", end, None)
    _cuda("cuCtxSynchronize")
    on_host = time.perf_counter() - started
    milliseconds = c_float()
    _cuda("cuEventElapsedTime", byref(milliseconds), begin, end)
    return milliseconds.value / 1e3, on_host
