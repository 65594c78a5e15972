"""Kernels as data: which text is launched, what the runner finds out, and what an interpreter does instead."""

import contextlib
import ctypes
import os
import random
import re
import time
from pathlib import Path

import pytest
import torch

from grader.bench.gpu import KERNEL
from grader.examine import gpu_race
from grader.examine.cards import Cards
from grader.examine.checks import Check, Failed, StudentError, TimedOut, Undecided, gather
from grader.examine.kernels import launching, ptx
from grader.examine.kernels.launching import Launch, Out
from grader.examine.submission import Submission
from grader.sandbox.build import SandboxError
from grader.sandbox.lease import Locks
from grader.sandbox.packed import Packed
from grader.steps.trials import Asked, Watched
from grader.tests.fake_gpus import FakeGpus, build_library

KINDS = ["*fp32", "*fp32", "i32"]
PTX = """// what a compiler writes
.version 8.4
.target sm_90a
.address_size 64
.extern .shared .align 16 .b8 global_smem[];
.global .align 1 .b8 _$_str[11] = {95, 95, 67};
.visible .entry doubles(
    .param .u64 .ptr .global .align 1 doubles_param_0, .param .u64 doubles_param_1, .param .u32 doubles_param_2
)
.reqntid 128
{ /* calls helper */
    .pragma "nounroll";
    ld.global.b32 %r1, [%rd1];
    call.uni (retval0), helper, (param0);
    ret;
}
.func (.param .b32 retval0) helper(.param .b32 param0) { ret; }
"""
TRITON = """
import triton
import triton.language as tl

@triton.jit
def twice(value):
    return value * 2

@triton.jit
def doubles(x, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, twice(tl.load(x + at, mask=at < n)), mask=at < n)

@triton.jit
def beyond(x, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, 2 * tl.load(x + at))

@triton.jit
def changes(x, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + at, 2 * tl.load(x + at, mask=at < n), mask=at < n)

@triton.jit
def untouched(x, out, n, BLOCK: tl.constexpr):
    pass

@triton.jit
def shouts(x, out, n, BLOCK: tl.constexpr):
    tl.device_print("n", n)

@triton.jit
def stub(x, out, n, BLOCK: tl.constexpr):
    raise NotImplementedError("not implemented yet: stub")

def plan(n):
    return {"grid": [-(-n // 256)], "constants": {"BLOCK": 256}, "num_warps": 8}

def no_plan(n):
    return {"stream": 1}

def vast(n):
    return {"grid": [1 << 40]}
"""


def told(text, **more):
    return {
        "ptx": text,
        "shared": 0,
        "num_warps": 4,
        "grid": [1],
        "constants": {},
        "interpreted": True,
        **more,
    }


def refused(text, kinds=KINDS, capability=90, **more):
    """Return why this is not launched, "" where it is; nothing else may come of any text."""
    why = ""
    try:
        ptx.checked(told(text, **more), kinds, capability)
    except StudentError as error:
        why = error.why
    assert len(why) < 600
    assert "\n" not in why
    return why


# --- which text is launched


def test_a_compilers_text_is_launched_without_its_comments():
    kernel = ptx.checked(told(PTX), KINDS, 90)
    assert (kernel.name, kernel.threads, kernel.extras, kernel.grid) == ("doubles", 128, 0, (1, 1, 1))
    assert "what a compiler" not in kernel.text
    assert "helper," in kernel.text


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (".func (", ".extern .func vprintf(.param .b64 a);\n.func (", "has .extern"),
        (".func (", ".extern/**/.func vprintf(.param .b64 a);\n.func (", "has .extern"),
        (".global .align 1 .b8 _$", ".extern .global .align 1 .b8 _$", "has .extern"),
        ("helper, (param0)", "vprintf, (param0)", "calls ['vprintf']"),
        ("(retval0), helper, (param0)", "(ret(val)0), vprintf, (param0)", "calls something"),
        ("(retval0), helper, (param0)", "vprintf", "calls ['vprintf']"),
        ("helper, (param0)", "%rd1, (param0), prototype_0", "calls ['%rd1']"),
        (".func (", ".visible .entry other(.param .u64 a) { ret; }\n.func (", "must have one .entry"),
        (".visible .entry doubles", ".visible .func doubles", "must have one .entry"),
        ("_$_str[11]", "_$_str[4096]", "keeps 4,096 bytes"),
        ("_$_str[11]", "_$_str[99999999999][99999999999]", "bytes from launch to launch"),
        ("_$_str[11] =", "_$_str[11], more[99] =", "unusual kind"),
        ("_$_str[11]", "_$_str[00000000000000004096]", "keeps 4,096 bytes"),
        ("_$_str[11]", "_$_str" + "[999999999999]" * 300, "unusual kind"),
        ("{95, 95, 67}", "{95, 95, 67}, more[4096]", "unusual kind"),
        ("_$_str[11] = {95, 95, 67}", "x = 1, more[4096]", "unusual kind"),
        (".global .align 1 .b8 _$", ".global .attribute(.managed) .b8 _$", "has .managed"),
        (".global .align 1 .b8 _$", ".visible.global .attribute(.x) .b8 _$", "unusual kind"),
        (".global .align 1 .b8 _$_str[11]", ".visible.global .b8 _$_str[4096]", "keeps 4,096 bytes"),
        (".global .align 1 .b8 _$_str[11]", ".const .b8 _$_str[4096]", "keeps 4,096 bytes"),
        ("ret;\n}", ".loc 1 1 0call vprintf;\n}", "has .loc"),
        ("ret;\n}", "mov.b32 %r1, 0call vprintf;\n}", "has 0call"),
        ("ret;\n}", "p: .callprototype _ ();\n}", "has .callprototype"),
        ("sm_90a", "sm_100a", "is for sm_100a"),
        ("sm_90a", "sm_80a", "is for sm_80a"),
        ("sm_90a", "sm_90a, debug", ".target"),
        (".address_size 64", ".address_size 32", ".address_size"),
        (".version 8.4", ".version 8.4\n.version 8.3", ".version"),
        (".param .u32 doubles_param_2", ".param .u64 doubles_param_2", "as argument 3"),
        (".param .u32 doubles_param_2", ".param .align 64 .b8 map[128]", "as argument 3"),
        (", .param .u32 doubles_param_2", "", "takes 2 arguments"),
        ("// what", "/* what", "must have one"),
        ("// what", '"// what', "holds '\"'"),
        ('"nounroll"', '"no\\"unroll"', "where none can be"),
        ("// what a compiler writes", '#include "/etc/passwd"', "holds '#'"),
        ("// what", "// w\N{LATIN SMALL LETTER A WITH RING ABOVE}t", "not of ASCII"),
        (".reqntid 128", ".reqntid 4096", "threads"),
        (".reqntid 128", ".reqntid 32, 4", "threads"),
    ],
)
def test_text_that_reaches_for_more_is_refused_with_what_it_has(old, new, why):
    assert old in PTX
    assert why in refused(PTX.replace(old, new, 1))


@pytest.mark.parametrize("prototype", [".func vprintf(.param .b64 a)", ".func (.param .b32 r) vprintf()"])
@pytest.mark.parametrize("end", [";", ""])
def test_a_function_without_a_body_is_not_defined_whatever_ends_its_line(prototype, end):
    """The assembler takes it for one of another module: vprintf and malloc are there to be linked."""
    text = PTX.replace("helper, (param0)", "vprintf, (param0)")
    assert "calls ['vprintf']" in refused(
        text.replace(".visible .entry", f".visible {prototype}{end} .visible .entry")
    )


def test_a_block_of_one_direction_may_be_written_as_three():
    assert refused(PTX.replace(".reqntid 128", ".reqntid 64, 1, 1")) == ""


def test_comments_that_open_again_and_again_and_huge_texts_cost_no_time():
    assert refused("/*/" * 600_000)
    assert refused('"' * 1_000_000)
    for piece in (
        ".func a()",
        ".func (",
        ".entry a(",
        ".global .b8 a=",
        ".global .b8 a[9]",
        "[999999999999]",
        ".visible.global",
        ".a",
        "call.a (",
        "call.a.a",
        ".param .u64 .ptr .a ",
    ):
        begins = time.process_time()
        assert refused(PTX + piece * (2_000_000 // len(piece)) + ";", [*KINDS, "i64"])
        assert time.process_time() - begins < 5
    assert "threads" not in refused(PTX.replace("128", "1" * 5000))
    assert "2,097,152 are allowed" in refused(PTX + " " * ptx.MOST_TEXT)


@pytest.mark.parametrize(
    "answer",
    [None, 3, "text", [PTX], {"ptx": 7}, {"ptx": b"text"}, told(PTX, shared=1 << 40), told(PTX, shared="0"),
     told(PTX, num_warps=True), told(PTX, num_warps=64), told(PTX, grid=[]), told(PTX, grid=[1, 1, 1, 1]),
     told(PTX, grid=[0]), told(PTX, grid=[1, 70000]), told(PTX, grid=None), told(PTX, grid=[1.0]),
     told(PTX, constants=[1]), told(PTX, constants={"a": "b"})],
)  # fmt: skip
def test_an_answer_that_is_no_kernel_is_refused(answer):
    with pytest.raises(StudentError):
        ptx.checked(answer, KINDS, 90)


def test_whatever_is_changed_in_a_text_it_is_launched_or_refused_and_never_with_a_stranger():
    """Pieces of PTX at random places: what is let through has one entry, and calls and declares nothing else's."""
    pieces = [
        ".extern ",
        ".func f",
        ".entry ",
        "call ",
        "vprintf",
        ".global ",
        ".b8 x[9];",
        ".weak ",
        ".target sm_90",
    ]
    pieces += ["/*", "*/", "//", "\n", '"', ";", "{", "}", "(", ")", " ", "\\", "#", "%r1", ",", "0"]
    draw = random.Random(os.urandom(8))
    passed = 0
    for _ in range(1500):
        text = PTX
        for _ in range(draw.randint(1, 3)):
            place = draw.randrange(len(text))
            text = text[:place] + draw.choice(pieces) + text[place + draw.randint(0, 2) :]
        if not refused(text):
            passed += 1
            bare = ptx.checked(told(text), KINDS, 90).text
            assert len(re.findall(r"\.entry\b", bare)) == 1
            assert set(re.findall(r"\.extern (\.\w+)", bare)) <= {".shared"}
            assert all("helper" in call for call in re.findall(r"(?<![\w.$%])call\b[^;]*", bare))
    assert passed > 20


# --- arguments


def test_what_no_kernel_takes_is_the_authors_mistake_at_once():
    for wrong in ("text", 1 << 70, torch.zeros(2, dtype=torch.complex64), Out((2,), "float128"), None):
        with pytest.raises((TypeError, ValueError)):
            launching.Laid(Launch([wrong]))
    with pytest.raises(ValueError, match="are possible"):
        launching.Laid(Launch([Out((1 << 26,))]))


@pytest.mark.parametrize("dtype", launching._TYPES)
def test_every_type_of_numbers_comes_back_as_it_was_written(dtype):
    kind = getattr(torch, dtype)
    wanted = torch.arange(6).reshape(2, 3).to(kind)
    laid = launching.Laid(Launch([Out((2, 3), dtype), 16, 17]))
    first, *_ = laid.values[0]
    block = laid.block.clone()
    block[first : first + 6 * kind.itemsize] = wanted.reshape(-1).view(torch.uint8)
    assert torch.equal(laid.outputs(block)[0], wanted)
    assert laid.hints == [0, 1]


# --- without a GPU


@pytest.fixture
def run(submit):
    def run(kernel, x, target=TRITON, **options):
        sub = submit(target)
        launch = Launch(
            [x, Out(x.shape), x.numel()], **({"grid": [2], "constants": {"BLOCK": 1024}} | options)
        )
        with gather() as evidence:
            return sub.launch(f"work:{kernel}", launch), evidence

    return run


def test_without_a_gpu_the_interpreter_computes_it_and_the_evidence_says_so(run):
    x = torch.randn(1500)
    (out,), evidence = run("doubles", x)
    assert torch.equal(out, 2 * x)
    assert "interpreter" in evidence.measured[0]["value"]
    (out,), _ = run("doubles", x, grid=None, constants={}, plan=["plan", 1500])
    assert torch.equal(out, 2 * x)


def test_the_interpreter_runs_where_triton_was_imported_ahead_of_workers(run, examiner):
    """Functions of Triton's own, such as `tl.sum`, were then made for the compiler."""
    examiner.place.zygote.preload(["triton", "triton.language"])
    sums = TRITON.replace(
        "twice(tl.load(x + at, mask=at < n))", "tl.sum(tl.load(x + at, mask=at < n, other=0), 0)"
    )
    (out,), _ = run("doubles", torch.ones(1000), sums, grid=[1])
    assert (out == 1000).all()


@pytest.mark.parametrize("imported", ["libdevice", "libdevice as ld", "libdevice\nrsqrt = libdevice.rsqrt"])
def test_a_kernel_of_libdevice_hears_that_the_interpreter_has_none(run, imported):
    name = "ld.rsqrt" if " as " in imported else "rsqrt" if "=" in imported else "libdevice.rsqrt"
    text = TRITON.replace(
        "twice(tl.load(x + at, mask=at < n))", f"{name}(tl.load(x + at, mask=at < n, other=1))"
    )
    with pytest.raises(StudentError, match=r"interpreter, which has no libdevice"):
        run("doubles", torch.ones(1500), f"from triton.language.extra import {imported}\n{text}")


def test_a_kernel_that_writes_nothing_answers_with_nothing(run):
    (out,), _ = run("untouched", torch.randn(1500))
    assert out.isnan().all()


@pytest.mark.parametrize(
    ("kernel", "options", "why"),
    [
        ("beyond", {}, "writes outside its tensors, behind the last"),
        ("changes", {}, "changes argument 1"),
        ("stub", {}, "not implemented yet: stub"),
        ("shouts", {}, "stands alone, without print"),
        ("missing", {}, "work.py defines no missing"),
        ("plan", {}, "plan is a function without @triton.jit"),
        ("doubles", {"constants": {"SIZE": 4}}, "it takes"),
        ("doubles", {"grid": None, "plan": ["no_plan", 1]}, "no_plan must return a dictionary"),
        ("doubles", {"grid": None, "plan": ["vast", 1]}, "a number of blocks in the grid must be"),
        ("doubles", {"grid": None}, "one to three numbers of blocks"),
    ],
)
def test_what_a_kernel_must_not_do_has_a_sentence(run, kernel, options, why):
    with pytest.raises(Failed, match=re.escape(why)):
        run(kernel, torch.randn(1500), **options)


MORE = """

@triton.jit
def sines(x, out, n, BLOCK: tl.constexpr, TWO: tl.constexpr = 2):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    given = tl.load(x + at, mask=at < n).to(tl.float64)
    tl.store(out + at, TWO * tl.sin(given) + tl.cos(given), mask=at < n)
"""


def test_a_compilers_own_tables_and_constants_with_a_default_are_allowed(run):
    x = torch.randn(1500)
    (out,), _ = run("sines", x, TRITON + MORE)
    assert torch.allclose(out, 2 * torch.sin(x) + torch.cos(x), atol=1e-5)


def test_what_the_check_says_is_not_the_workers_to_change(monkeypatch, submit):
    monkeypatch.setattr(
        Submission,
        "_in_worker",
        lambda *told: {
            "ptx": PTX,
            "grid": [99],
            "num_warps": 4,
            "constants": {"BLOCK": 1, "OWN": 2},
            "missing": "ask for full points",
        },
    )
    sub, launch = submit(TRITON), Launch([torch.ones(9), Out((9,)), 9], [1], {"BLOCK": 16})
    told = None, "work:doubles", None, launch, launching.Laid(launch), {"capability": 90, "version": ""}
    kernel = sub._compiled(*told)
    assert (kernel.grid, kernel.constants) == ((1, 1, 1), {"BLOCK": 16, "OWN": 2})


def test_who_says_that_no_kernel_can_be_compiled_is_not_believed(monkeypatch, submit):
    monkeypatch.setattr(Submission, "_in_worker", lambda *told: {"missing": "ask for full points"})
    with gather() as evidence, pytest.raises(StudentError, match="is no kernel"):
        submit(TRITON).launch("work:doubles", Launch([Out((9,))], [1]))
    assert not evidence.missing


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("return value * 2", "return tl.twice(value)", r"has no attribute 'twice'.*line 7"),
        ("return value * 2", "return undefined(value)", r"undefined is not defined.*line 7"),
        ("twice(tl.load", "torch_like(tl.load", r"torch_like is not defined.*line 12"),
        ("return value * 2", "print(value)\n    return value * 2", r"prints nothing.*line 7"),
        ("return value * 2", "return value @ value", r"no operator MatMult: use tl\.dot.*line 7"),
        (
            "return value * 2",
            f"return tl.dot({', '.join(f'tl.zeros((32, 32), tl.{kind})' for kind in ('int8', 'int8', 'int32'))})",
            r"Triton asks that .*acc\.type\.element_ty == out_dtype.*line 7",
        ),
        ("@triton.jit\ndef twice", "def twice", "the kernel calls twice, no function of Triton's"),
        ("n, BLOCK: tl.constexpr", "n, BLOCK", "write BLOCK: tl.constexpr"),
        (
            "@triton.jit\ndef doubles",
            "@triton.autotune([], [])\n@triton.jit\ndef doubles",
            "another decorator around",
        ),
        (
            "\nimport triton\n",
            "\nimport os\nos.environ['TRITON_INTERPRET'] = '1'\nimport triton\n",
            "in the shell",
        ),
        ("def plan(n)", "doubles[(1,)](1, 2, 3, 4)\ndef plan(n)", "no launch, and no question for a device"),
    ],
)
def test_what_triton_refuses_is_told_with_its_reason_and_its_line(run, old, new, why):
    """Triton's own words begin with twelve lines of source, and only the beginning of a long text is shown."""
    assert old in TRITON
    with pytest.raises(StudentError) as failed:
        run("doubles", torch.randn(4), TRITON.replace(old, new, 1))
    told = f"{failed.value.why} {failed.value.yours}"
    assert re.search(why, told), told


PATCHES = """
import triton
class Says:
    asm = {"ptx": TEXT}
    class metadata:
        global_scratch_size = profile_scratch_size = shared = 0
        num_ctas = num_warps = 1
triton.compile = lambda *told, **options: Says
"""


def test_who_patches_the_compiler_hands_in_data_as_everybody_does(run):
    evil = PTX.replace(".func (", ".extern .func vprintf(.param .b64 a);\n.func (")
    with pytest.raises(StudentError, match="extern"):
        run("doubles", torch.randn(4), TRITON + PATCHES.replace("TEXT", repr(evil)))
    with pytest.raises(StudentError, match="no kernel"):
        run("doubles", torch.randn(4), TRITON + PATCHES.replace("TEXT", "[1] * 9"))


def test_ptx_by_hand_without_a_gpu_is_not_measured_and_no_points(run):
    out, evidence = run("kernel", torch.randn(4), f"kernel = {PTX!r}")
    assert out is None
    assert evidence.missing == {"a kernel in PTX needs a GPU": ["what the kernel computes"]}


def test_a_race_without_a_gpu_compiles_and_is_not_measured(submit, tmp_path):
    def compare(target):
        sub = submit(TRITON)
        sub._references = tmp_path
        (tmp_path / "ref.py").write_text(TRITON)
        launch = Launch([sub.rng.normal((9,)), Out((9,)), 9], [1 << 20], {"BLOCK": 16})
        with gather() as evidence:
            sub.compare_launches(target, lambda: launch, against="ref:doubles", threshold=1, verify=print)
        return evidence

    assert compare("work:doubles").missing == {
        "without a GPU kernels run in Triton's interpreter": ["speed of the kernel"]
    }
    with pytest.raises(StudentError, match="stands alone, without print"):
        compare("work:shouts")


def test_a_release_sees_what_a_kernel_is_asked(examiner):
    packed, asked = Packed.of({"work.py": TRITON.encode()}), Asked()
    check = Check("c", "item", 1.0, 20.0, None, "", "", False, "S.", lambda sub: None)
    with contextlib.closing(packed):
        sub = Watched(asked, examiner.place, packed, check, driver=None, memory=1 << 30, seed=1)
        launch = Launch([torch.ones(9), Out((9,)), 9], [1], {"BLOCK": 16})
        sub.launch("work:doubles", launch)
    assert len(asked.digests) == 1


def test_the_check_of_the_guide_passes_a_softmax_and_not_one_of_the_block(submit):
    guide = (Path(__file__).parents[2] / "GUIDE.md").read_text(encoding="utf-8")
    names = {}
    exec(guide.partition("## A check of a kernel")[2].partition("```python\n")[2].partition("```")[0], names)
    for text, passes in ((KERNEL, True), (KERNEL.replace('-float("inf")', "0.0"), False)):
        sub = submit("")
        sub._packed = Packed.of({"kernels.py": text.encode()})
        with contextlib.closing(sub._packed), contextlib.nullcontext() if passes else pytest.raises(Failed):
            names["softmax_is_softmax"](sub)


# --- with a stand-in for the driver


@pytest.fixture
def card(tmp_path, tmp_path_factory, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("only root can make device nodes")
    folder = tmp_path_factory.mktemp("fakes")
    ctypes.CDLL(str(build_library(folder)))
    fake = FakeGpus(folder)
    monkeypatch.setenv("FAKE_NVML", str(fake.state))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver = build_library(folder, "libcuda.so.1", "fake_cuda.c").read_bytes()
    monkeypatch.setattr(launching, "BESIDE", {"libcuda.so.1": driver})
    monkeypatch.setattr(launching, "LIBRARY", "/submission/libcuda.so.1")
    monkeypatch.setattr(launching, "FLUSHED", 1 << 20)
    monkeypatch.setattr(gpu_race, "ON", "cpu")
    with Cards(locks=Locks(folder / "locks"), **fake.options).lease() as card:
        yield card


@pytest.fixture
def on_card(card, examiner, tmp_path):
    """Return a submission on the card, of a text of PTX by its kernel's name, or of a module."""
    with contextlib.ExitStack() as stack:

        def make(kernel, code="", wall=20.0):
            code = code or f"kernel = {PTX.replace('doubles', kernel)!r}"
            packed = stack.enter_context(contextlib.closing(Packed.of({"work.py": code.encode()})))
            check = Check("c", "item", 1.0, wall, None, "", "", False, "S.", lambda sub: None)
            (tmp_path / "ref.py").write_text(f"kernel = {PTX!r}\nslow = {PTX.replace('doubles', 'slow')!r}")
            return Submission(
                *(examiner.place, packed, check),
                driver=None,
                memory=1 << 30,
                seed=1,
                references=tmp_path,
                card=card,
            )

        yield make


def ask(sub, x, kernel="kernel", **options):
    return sub.launch(f"work:{kernel}", Launch([x, Out(x.shape), x.numel()], [1]), **options)


def test_the_card_computes_text_by_hand_and_what_triton_compiles(on_card):
    x = torch.randn(1000)
    with gather() as evidence:
        assert torch.equal(ask(on_card("doubles"), x)[0], 2 * x)
    assert "HMM" in str(evidence.measured)
    launch = Launch([x, Out((1000,)), 1000], None, plan=["plan", 1000])
    assert torch.equal(on_card("", TRITON).launch("work:doubles", launch)[0], 2 * x)


def test_nothing_of_a_students_runs_where_the_card_is(on_card):
    """The module sees no device when it is compiled; what it prints and patches is beside the point."""
    code = "import os\nassert not [n for n in os.listdir('/dev') if 'nvidia' in n]\nprint('here')\n"
    code += "import time\ntime.perf_counter = lambda: 0.0\n"
    sub = on_card("", code + f"kernel = {PTX!r}")
    assert torch.equal(ask(sub, torch.ones(3))[0], torch.full((3,), 2.0))


@pytest.mark.parametrize(
    ("kernel", "why"),
    [
        ("beyond", "writes outside its tensors, behind the last one"),
        ("before", "writes outside its tensors, behind argument 1 or before argument 2"),
        ("changes", "changes argument 1"),
        ("crashes", "stopped at the kernel: CUDA_ERROR_ILLEGAL_ADDRESS, a fault of the stand-in"),
        ("no_ptx", "CUDA_ERROR_INVALID_PTX, a fault of the stand-in: line 1; syntax error"),
        ("kills", "the driver died of the kernel"),
    ],
)
def test_a_kernel_that_breaks_or_strays_fails_with_a_sentence(on_card, kernel, why):
    with pytest.raises(Failed, match=re.escape(why)):
        ask(on_card(kernel), torch.randn(100))


def test_a_kernel_that_writes_nothing_leaves_nan(on_card):
    assert ask(on_card("untouched"), torch.randn(100))[0].isnan().all()


def test_a_kernel_without_an_end_is_ended_and_the_card_is_free_for_the_next(on_card):
    with pytest.raises(TimedOut, match="did not end in the time that it had"):
        ask(on_card("spins"), torch.randn(100), wall=1.0)
    assert torch.equal(ask(on_card("doubles"), torch.ones(3))[0], torch.full((3,), 2.0))


def test_a_driver_that_is_not_there_is_the_machines_fault(on_card, monkeypatch):
    monkeypatch.setattr(launching, "LIBRARY", "/submission/nowhere.so")
    with pytest.raises(SandboxError, match="the driver's library cannot be loaded"):
        ask(on_card("doubles"), torch.randn(3))


def race(sub, threshold, against="ref:kernel", least=None):
    def verify(mine, reference):
        if not torch.equal(mine[0], reference[0]):
            raise Failed("the numbers differ")

    def launch():
        return Launch([sub.rng.normal((1000,)), Out((1000,)), 1000], [1])

    sub.compare_launches(
        "work:kernel", launch, against=against, threshold=threshold, verify=verify, least=least
    )


def test_a_race_tells_slow_from_fast(on_card):
    with gather() as evidence:
        race(on_card("doubles", wall=100), 1.5, "ref:slow")
    assert "clock of the GPU's processors" in str(evidence.measured)
    with pytest.raises((Failed, Undecided), match="times as fast"):
        race(on_card("slow", wall=100), 0.9)


def test_a_kernel_that_forges_the_cards_clock_has_the_hosts(on_card):
    with pytest.raises((Failed, Undecided), match="times as fast"):
        race(on_card("forges", wall=100), 0.9)


def test_a_race_is_lost_by_numbers_that_differ_and_times_that_no_card_has(on_card):
    with pytest.raises(Failed, match="the numbers differ"):
        race(on_card("untouched", wall=100), 0.1)
    with pytest.raises(RuntimeError, match="the reference failed: answered after"):
        race(on_card("doubles", wall=100), 0.1, least=lambda launch: (1e16, 0))
