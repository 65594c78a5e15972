"""One network in several engines: how it gets into each, what its file holds, and how long a process takes to answer.

As a program (``python -m week07_inference_software.formats aot FILE`` or ``phone FILE``) it makes the two conversions
that take long, each in a process of its own, and prints what it found as JSON.
"""

import atexit
import json
import re
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from effdl.data import cache_folder
from effdl.device import kind
from effdl.kernels import keep_kernels
from week07_inference_software import small_nets, triton_kernels
from week07_inference_software.capture import quietly

Engine = Callable[[Tensor], Tensor]
MOST_IMAGES = 64


# ---- into each format


def exported(net: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The network as a graph of ATen operations, for 1 to 64 rows or images."""
    batch = torch.export.Dim("batch", min=1, max=MOST_IMAGES)
    with quietly():
        return torch.export.export(net, (example,), dynamic_shapes=({0: batch},))


def to_onnx(program: torch.export.ExportedProgram, file: Path) -> Path:
    """Write an exported network as ONNX; its input is called ``x``, its output ``y``."""
    with quietly():
        onnx_program = torch.onnx.export(program, dynamo=True, input_names=["x"], output_names=["y"])
        onnx_program.save(str(file))
    return file


def to_openvino(program: torch.export.ExportedProgram, file: Path) -> Path:
    """Write an exported network as OpenVINO's two files, FILE.xml and FILE.bin, with weights as they are."""
    import openvino

    with quietly():
        openvino.save_model(openvino.convert_model(program), file, compress_to_fp16=False)
    return file


# ---- out of each format


def onnx_engine(file: Path, threads: int = 1, optimized: Path | None = None) -> Engine:
    """ONNX Runtime on a CPU. It writes the graph that it really runs to ``optimized``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def openvino_engine(file: Path, threads: int = 1, exact: bool = True) -> Engine:
    """OpenVINO on a CPU. Without ``exact`` it takes bfloat16 on processors that have it."""
    compiled = openvino_compiled(file, threads, exact)
    request = compiled.create_infer_request()
    return lambda x: torch.from_numpy(request.infer([x.numpy()])[0].copy())


def openvino_compiled(file: Path, threads: int = 1, exact: bool = True) -> Any:
    """OpenVINO's compiled model, for :func:`openvino_engine` and to be looked at; ``exact`` asks for float32."""
    import openvino

    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if exact:
        options["INFERENCE_PRECISION_HINT"] = "f32"
    return openvino.Core().compile_model(file, "CPU", options)


def inductor_engine(file: Path) -> Engine:
    """A package of AOTInductor: machine code for this kind of processor."""
    with quietly():
        return torch._inductor.aoti_load_package(str(file))


def through_onnx(net: nn.Module, example: Tensor, name: str, place: Path) -> tuple[Engine, Counter[str]]:
    """A network through torch.export and ONNX to ONNX Runtime: the engine, and the operators that it runs.

    ``example`` needs two rows at least: torch.export takes a size of one for a fact.
    """
    file = to_onnx(exported(net, example), place / f"{name}.onnx")
    optimized = place / f"{name}-optimized.onnx"
    engine = onnx_engine(file, optimized=optimized)
    return engine, onnx_operations(optimized)


# ---- what is in the files


def operations(program: torch.export.ExportedProgram) -> Counter[str]:
    """ATen operations of an exported network."""
    return Counter(
        str(node.target).removeprefix("aten.").split(".")[0]
        for node in program.graph.nodes
        if node.op == "call_function"
    )


def onnx_operations(file: Path) -> Counter[str]:
    """Operators of an ONNX file."""
    import onnx

    return Counter(node.op_type for node in onnx.load(str(file), load_external_data=False).graph.node)


def openvino_operations(compiled: Any) -> Counter[str]:
    """What OpenVINO runs, without inputs, outputs and constants."""
    kinds = (node.get_rt_info()["layerType"].astype(str) for node in compiled.get_runtime_model().get_ops())
    return Counter(name for name in kinds if name not in ("Input", "Output", "Const"))


def inductor_operations(file: Path) -> Counter[str]:
    """What the code that AOTInductor wrote calls: functions of the library, and kernels of its own.

    Own kernels that clip at zero or take a root are counted apart: a ReLU or a norm was left for them.
    """
    found: Counter[str] = Counter()
    with zipfile.ZipFile(file) as package:
        for name in package.namelist():
            if name.endswith(".wrapper.cpp"):
                found.update(re.findall(r"aoti_torch_cpu_(\w+)\(", package.read(name).decode()))
            elif name.endswith(".kernel.cpp"):
                for kernel in re.split(r'(?=extern "C")', package.read(name).decode())[1:]:
                    left = re.search(r"clamp_min|maximum|sqrt\(", kernel)
                    found["own kernels, norm or ReLU" if left else "own kernels"] += 1
    return found


def kernel_of(file: Path, word: str) -> str:
    """The first kernel in AOTInductor's C++ whose name holds ``word``, casts and braces left out, for people."""
    with zipfile.ZipFile(file) as package:
        code = "".join(package.read(name).decode() for name in package.namelist() if name.endswith(".cpp"))
    kernels = re.findall(r'^extern "C"[^;{]*\{.*?^\}', code, re.DOTALL | re.MULTILINE)
    source = next((kernel for kernel in kernels if word in kernel[:300]), "")
    source = re.sub(r"static_cast<(?:int64_t|float)>\(([^()]*?)L?\)", r"\1", source)
    source = source.replace("at::vec::Vectorized<float>", "Vec")
    skip = re.compile(
        r"\s*(\{|\}|\}\)?\s*|(#|//).*|\);?|.*integer_div.*|(else )?if\(C10_\w+.*|.*_flag.*|'''.*)?\s*"
    )
    lines = [line for line in source.splitlines() if not skip.fullmatch(line)]
    depths = sorted({len(line) - len(line.lstrip()) for line in lines})
    return "\n".join("  " * depths.index(len(line) - len(line.lstrip())) + line.lstrip() for line in lines)


def nbytes(place: Path) -> int:
    """Bytes of a file, of a folder, or of FILE.xml together with FILE.bin."""
    if place.is_dir():
        return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    return place.stat().st_size + (place.with_suffix(".bin").stat().st_size if place.suffix == ".xml" else 0)


# ---- conversions that take long


def folder() -> Path:
    """Where compiled packages are kept between runs: they are for one kind of processor and one PyTorch."""
    place = cache_folder() / "formats" / f"{kind()}-{torch.__version__}"
    place.mkdir(parents=True, exist_ok=True)
    return place


class Conversion:
    """A conversion in a process of its own, which begins at once. ``what`` is "aot" or "phone".

    The result is kept: compiling takes half a minute, and what it took the first time is what is told. Call
    :meth:`result` before you time anything, since the process keeps a core busy.
    """

    def __init__(self, what: str, place: Path | None = None):
        suffixes = {"aot": ".pt2", "phone": ".mlpackage"}
        self.file = (place or folder()) / f"residual{suffixes[what]}"
        self.record = self.file.with_suffix(".json")
        self.process = None
        if not self.record.exists():
            command = [sys.executable, "-m", __spec__.name if __spec__ else __name__, what, str(self.file)]
            root = Path(__file__).resolve().parent.parent
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
            )
            atexit.register(self.close)  # a page that fails before it asks leaves nothing behind

    def close(self) -> None:
        """End the process if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def result(self, timeout: float = 300) -> dict[str, Any] | str:
        """What the process found, or a sentence why there is nothing.

        Raises subprocess.TimeoutExpired after ``timeout`` seconds; the process is then ended.
        """
        if self.process is not None:
            try:
                output, errors = self.process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                self.close()
                raise
            if self.process.returncode:
                last = (errors.strip().splitlines() or ["no message"])[-1]
                return f"This conversion does not work here: {last[:160]}"
            self.record.write_text(output.strip().splitlines()[-1])
            self.process = None
        return json.loads(self.record.read_text())


def compile_ahead(file: Path) -> dict[str, Any]:
    """Compile the residual network with AOTInductor into FILE; seconds of it, without PyTorch's own start.

    For the gate of :mod:`.triton_kernels` C++ is written too, not compiled; its kernel goes into the result.
    """
    keep_kernels()
    torch.set_num_threads(1)
    net = small_nets.residual()
    program = exported(net, small_nets.images(2))
    begun = time.perf_counter()
    with torch.no_grad(), quietly():
        compile_package = torch._inductor.aoti_compile_and_package
        # Headers that are compiled once for many packages cost ten seconds more than they save these two.
        options = {"aot_inductor.precompile_headers": False}
        # Freezing makes constants of the weights; only then are batch norms folded.
        compile_package(program, package_path=str(file), inductor_configs=options | {"freezing": True})
        seconds = time.perf_counter() - begun
        small = file.with_name("gate.pt2")
        example = (torch.ones(64, 256), torch.ones(64, 256))
        options["aot_inductor.package_cpp_only"] = True
        program = torch.export.export(_Gate(), example)
        compile_package(program, package_path=str(small), inductor_configs=options)
    return {"seconds": seconds, "kernel": kernel_of(small, "cpp_fused")}


class _Gate(nn.Module):
    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return triton_kernels.gate(x, residual)


def convert_for_phone(file: Path) -> dict[str, Any]:
    """Convert the residual network to Core ML; the operations and the types in what comes out.

    Without Apple's system the result can be read, not run.
    """
    begun = time.perf_counter()
    with quietly():
        import coremltools

        program = torch.export.export(small_nets.residual(), (small_nets.images(1),)).run_decompositions({})
        model = coremltools.convert(
            program, convert_to="mlprogram", minimum_deployment_target=coremltools.target.iOS17
        )
        model.save(str(file))
    function = model.get_spec().mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    found = Counter(operation.type for operation in block.operations)
    found.pop("const", None)
    return {
        "seconds": time.perf_counter() - begun,
        "operations": dict(found),
        "weights": nbytes(file / "Data" / "com.apple.CoreML" / "weights"),
    }


# ---- from a new process to an answer

_STARTS: Mapping[str, str] = {
    "PyTorch, eager": """
import torch
from week07_inference_software import small_nets
torch.set_num_threads(1)
net = small_nets.residual()
net.load_state_dict(torch.load({weights!r}))
with torch.inference_mode():
    net(torch.zeros(1, 3, 48, 48))
""",
    "ONNX Runtime": """
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession({onnx!r}, options, providers=["CPUExecutionProvider"])
session.run(None, {{"x": numpy.zeros((1, 3, 48, 48), "float32")}})
""",
    "OpenVINO": """
import numpy, openvino
model = openvino.Core().compile_model({openvino!r}, "CPU", {{"INFERENCE_NUM_THREADS": 1}})
model(numpy.zeros((1, 3, 48, 48), "float32"))
""",
}


def first_answers(files: Mapping[str, str], rounds: int = 2) -> dict[str, tuple[float, float]]:
    """Seconds from the start of a new process to its end right after its first answer, and its resident memory in MB.

    ``files`` names "weights", "onnx" and "openvino". Of the rounds, which take turns, the quickest counts.
    """
    found: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for name, code in _STARTS.items():
            code = code.format(**files) + "\nimport psutil\nprint(psutil.Process().memory_info().rss)"
            begun = time.perf_counter()
            run = subprocess.run(
                [sys.executable, "-c", code],
                capture_output=True,
                text=True,
                check=True,
                cwd=Path(__file__).resolve().parent.parent,
            )
            seconds, megabytes = time.perf_counter() - begun, int(run.stdout.split()[-1]) / 1e6
            found[name] = min(found.get(name, (float("inf"), 0.0)), (seconds, megabytes))
    return found


if __name__ == "__main__":
    print(json.dumps({"aot": compile_ahead, "phone": convert_for_phone}[sys.argv[1]](Path(sys.argv[2]))))
