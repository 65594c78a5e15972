"""Kernels of homework 3 for cards that are not here: the grader launches what Triton's compiler makes of ours."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from grader.course import Course
from grader.examine.kernels import inside, ptx

SOURCE = Course.load(Path(__file__).parents[1]).assignment("hw3_deployment").source
CODES = ["*i8", "*i8", "*fp32", "*fp32", "*fp32", "i32", "i32", "i32"]
ROWS = ["*fp16", "*fp16", "*fp32", "*fp16", "*fp16", "i32", "fp32"]
TILES = [(32, 16, 64), (16, 32, 32), (16, 16, 32), (32, 32, 64), (16, 16, 128)]  # those of the checks
LARGE = (128, 128, 64)  # as an engine takes, where sm_90 has instructions of its own
LAUNCHES = {
    "add_norm": [("add_norm", ROWS, {"BLOCK": block}) for block in (128, 1024)],
    "int8_kernel": [
        ("int8_rows", CODES, dict(zip(("BLOCK_M", "BLOCK_N", "BLOCK_K"), tile, strict=True)))
        for tile in (*TILES, LARGE)
    ],
}
FILES = [
    (module, path)
    for module in LAUNCHES
    for path in (SOURCE / f"{module}.py", *sorted((SOURCE / "right").glob(f"{module}_*.py")))
]
PRODUCTS = re.compile(r"(?:mma\.sync|wgmma\.mma_async|tcgen05\.mma)[\w.:]*")


def test_there_are_kernels_to_compile():
    assert len(FILES) >= 6


@pytest.mark.drawn(4)
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(("module", "path"), FILES, ids=[path.stem for _, path in FILES])
def test_every_right_kernel_is_launched_on_cards_that_are_not_here(
    module, path, capability, tmp_path, monkeypatch
):
    pytest.importorskip("triton", reason="needs requirements-week07.txt")
    name = f"{path.stem}_of_this_test"
    (tmp_path / f"{name}.py").write_bytes(path.read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for variable in ("TRITON_CACHE_DIR", "TRITON_DISABLE_LINE_INFO"):
        monkeypatch.setenv(variable, "")  # so that it is as before when `compiled` has set it
    importlib.invalidate_caches()
    text = path.read_text(encoding="utf-8")
    tensors = [place for place, kind in enumerate(LAUNCHES[module][0][1]) if kind[0] == "*"]
    for kernel, kinds, constants in LAUNCHES[module]:
        if constants.get("BLOCK_M") == LARGE[0] and "tl.dot" not in text:
            continue  # by broadcasting, a tile of this size takes the compiler a minute
        whole = [place for place, kind in enumerate(kinds) if kind == "i32"]
        for hints in (tensors, tensors + whole):
            settings = {"grid": [1, 1], "constants": constants}
            found = inside.compiled(f"{name}:{kernel}", kinds, hints, settings, [], capability, "")
            launched = ptx.checked(found, kinds, capability)
            if kernel == "int8_rows" and "tl.dot" in text:
                assert PRODUCTS.search(launched.text), "tl.dot has become no instruction of the tensor cores"
    sys.modules.pop(name)
