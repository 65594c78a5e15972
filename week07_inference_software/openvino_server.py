"""A KServe v2 server around OpenVINO or ONNX Runtime: HTTP, gRPC, dynamic batching, statistics and metrics.

    python -m week07_inference_software.openvino_server FOLDER --http 8000 --grpc 8001

OpenVINO Model Server is a program in C++ that comes as a container image or an archive, not as a Python package.
This one speaks the same protocol, and reads the same model repository as NVIDIA Triton does.
"""

import argparse
import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from effdl.services import free_ports
from week07_inference_software import kserve, repository, serving
from week07_inference_software.nvidia_triton import Addresses

ENGINES = ("openvino", "onnxruntime")
Run = Callable[[np.ndarray], dict[str, np.ndarray]]


class Bad(Exception):
    """A request that cannot be answered; HTTP says 400, gRPC says INVALID_ARGUMENT."""


def openvino_run(file: Path, precision: str = "f32") -> Run:
    """A function that runs an ONNX file by OpenVINO, compiled for the CPU with one stream and one thread.

    ``precision`` is the type of its arithmetic; "" leaves the choice to OpenVINO.
    """
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    if precision:
        settings["INFERENCE_PRECISION_HINT"] = precision
    compiled = core.compile_model(core.read_model(file), "CPU", settings)
    request = compiled.create_infer_request()

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        found = request.infer({0: images})
        return {port.get_any_name(): np.array(value) for port, value in found.items()}

    return run


def onnxruntime_run(file: Path) -> Run:
    """A function that runs an ONNX file by ONNX Runtime, with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"image": images}), strict=True))


class Model:
    """A model that is loaded: its configuration, its queue, and the one thread that runs it."""

    def __init__(self, folder: Path, engine: str):
        """Raise ValueError or OSError where configuration or network cannot be read."""
        self.config = repository.read((folder / "config.pbtxt").read_text(encoding="utf-8"))
        self.name = self.config.name
        self.version = max((one.name for one in folder.iterdir() if one.name.isdigit()), key=int)
        file = folder / self.version / "model.onnx"
        self.run: Run = openvino_run(file) if engine == "openvino" else onnxruntime_run(file)
        self.platform = engine
        self.most = self.config.max_batch_size or 1
        batching = self.config.dynamic_batching
        self.joins = self.config.HasField("dynamic_batching")
        self.delay = batching.max_queue_delay_microseconds / 1e6
        self.batches: Counter[int] = Counter()  # size: how often
        self.nanoseconds: Counter[int] = Counter()
        self.refused = 0
        self.thread = ThreadPoolExecutor(1)
        self.queue: asyncio.Queue = asyncio.Queue()
        self.worker = asyncio.create_task(self._work())

    async def infer(self, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs for one request of at most `most` rows. Raises Bad."""
        expected = {entry.name: tuple(entry.dims) for entry in self.config.input}
        if {name: value.shape[1:] for name, value in tensors.items()} != expected:
            raise Bad(f"{self.name} takes {expected} after the batch axis")
        (images,) = tensors.values()
        if images.dtype != np.float32 or not 0 < len(images) <= self.most:
            raise Bad(f"{self.name} takes 1 to {self.most} rows of FP32, not {len(images)} of {images.dtype}")
        answer = asyncio.get_running_loop().create_future()
        await self.queue.put((images, answer))
        return await answer

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        left: list = []
        while True:
            batch = left or [await self.queue.get()]
            left = []
            if self.joins:
                left = await self._gather(batch, loop.time() + self.delay)
            began = time.perf_counter_ns()
            images = np.concatenate([images for images, _ in batch])
            try:
                found = await loop.run_in_executor(self.thread, self.run, images)
            except (
                Exception
            ) as error:  # whatever the engine raises belongs to these requests, not to the server
                for _, answer in batch:
                    answer.set_exception(Bad(str(error)))
                continue
            self.batches[len(images)] += 1
            self.nanoseconds[len(images)] += time.perf_counter_ns() - began
            ends = np.cumsum([len(images) for images, _ in batch])[:-1]
            parts = {name: np.split(value, ends) for name, value in found.items()}
            for place, (_, answer) in enumerate(batch):
                if not answer.cancelled():
                    answer.set_result({name: part[place] for name, part in parts.items()})

    async def _gather(self, batch: list, until: float) -> list:
        """Add requests to the batch until it is full or it is time. Gives one that did not fit, for the next."""
        loop, rows = asyncio.get_running_loop(), len(batch[0][0])
        while rows < self.most:
            try:
                request = self.queue.get_nowait()
            except asyncio.QueueEmpty:
                try:
                    request = await asyncio.wait_for(self.queue.get(), max(until - loop.time(), 0))
                except TimeoutError:
                    break
            rows += len(request[0])
            if rows > self.most:
                return [request]
            batch.append(request)
        return []

    def statistics(self) -> dict:
        """What has been counted, in the form of Triton's statistics extension."""
        sizes = sorted(self.batches)
        entries = [
            {"batch_size": n, "compute_infer": {"count": self.batches[n], "ns": self.nanoseconds[n]}}
            for n in sizes
        ]
        return {
            "name": self.name,
            "version": self.version,
            "inference_count": sum(size * count for size, count in self.batches.items()),
            "execution_count": self.batches.total(),
            "batch_stats": entries,
        }

    def metadata(self) -> dict:
        """Names, types and shapes, as the protocol gives them."""
        kinds = self.config.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number
        sides = {
            side: [
                {"name": t.name, "datatype": kinds[t.data_type].name[5:], "shape": [-1, *t.dims]}
                for t in tensors
            ]
            for side, tensors in (("inputs", self.config.input), ("outputs", self.config.output))
        }
        return {"name": self.name, "versions": [self.version], "platform": self.platform, **sides}

    def close(self) -> None:
        """Stop the thread."""
        self.worker.cancel()
        self.thread.shutdown(wait=False)


class Service:
    """All models of a repository, and what HTTP and gRPC share."""

    def __init__(self, folder: Path, engine: str):
        self.folder, self.engine, self.models = folder, engine, {}

    def load(self, name: str) -> None:
        """Load a model, or load it again; requests in the old one's queue are still answered. Raises Bad."""
        # A name is one path component; anything else would leave the repository.
        known = [one.name for one in self.folder.iterdir() if one.is_dir()]
        if name not in known:
            raise Bad(f"the repository has {known}, not {name!r}")
        try:
            self.models[name] = Model(self.folder / name, self.engine)
        except (ValueError, OSError, RuntimeError) as error:
            raise Bad(str(error)) from None

    def model(self, name: str) -> Model:
        """A loaded model. Raises Bad."""
        if name not in self.models:
            raise Bad(f"no model {name!r} is loaded")
        return self.models[name]

    def metrics(self) -> str:
        """Counters in Prometheus' text format, by Triton's names."""
        lines = []
        for kind, key in (
            ("nv_inference_count", "inference_count"),
            ("nv_inference_exec_count", "execution_count"),
        ):
            lines.append(f"# TYPE {kind} counter")
            for model in self.models.values():
                lines.append(f'{kind}{{model="{model.name}",version="1"}} {model.statistics()[key]}')
        return "\n".join(lines) + "\n"


def http_app(service: Service):
    """The HTTP side, an ASGI application."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

    async def ready(_):
        return JSONResponse({})

    async def model_ready(request):
        service.model(request.path_params["name"])
        return JSONResponse({})

    async def metadata(request):
        return JSONResponse(service.model(request.path_params["name"]).metadata())

    async def stats(request):
        return JSONResponse({"model_stats": [service.model(request.path_params["name"]).statistics()]})

    async def load(request):
        service.load(request.path_params["name"])
        return JSONResponse({})

    async def infer(request):
        model, body = service.model(request.path_params["name"]), await request.body()
        try:
            tensors = kserve.unpack("inputs", request.headers, body)
            length = int(request.headers.get(kserve.LENGTH) or len(body))
            binary = json.loads(body[:length]).get("parameters", {}).get("binary_data_output", False)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Bad(f"no inference request: {error!r}") from None
        headers, content = kserve.pack("outputs", await model.infer(tensors), bool(binary))
        return Response(content, headers=headers)

    async def metrics(_):
        return PlainTextResponse(await run_in_threadpool(service.metrics))

    async def bad(_, error):
        return JSONResponse({"error": str(error)}, 400)

    routes = [
        Route("/v2/health/ready", ready),
        Route("/v2/models/{name}/ready", model_ready),
        Route("/v2/models/{name}", metadata),
        Route("/v2/models/{name}/stats", stats),
        Route("/v2/models/{name}/infer", infer, methods=["POST"]),
        Route("/v2/repository/models/{name}/load", load, methods=["POST"]),
        Route("/metrics", metrics),
    ]
    return Starlette(routes=routes, exception_handlers={Bad: bad})


def grpc_handlers(service: Service):
    """The gRPC side: four methods, without generated code."""
    import grpc

    kinds = kserve.messages()

    async def server_ready(_, __):
        return {"ready": True}

    async def model_ready(request, _):
        return {"ready": request.name in service.models}

    async def metadata(request, _):
        return service.model(request.name).metadata()

    async def infer(request, _):
        model = service.model(request.model_name)
        try:
            tensors = {
                entry.name: np.frombuffer(raw, kserve.DATATYPES[entry.datatype]).reshape(tuple(entry.shape))
                for entry, raw in zip(request.inputs, request.raw_input_contents, strict=True)
            }
        except (ValueError, KeyError) as error:
            raise Bad(f"no inference request: {error!r}") from None
        found = await model.infer(tensors)
        outputs = [
            {"name": name, "datatype": kserve.NAMES[value.dtype], "shape": value.shape}
            for name, value in found.items()
        ]
        raw = [np.ascontiguousarray(value).tobytes() for value in found.values()]
        return {"model_name": model.name, "outputs": outputs, "raw_output_contents": raw}

    def handler(name, answer):
        ask, tell = kinds[f"inference.{name}Request"], kinds[f"inference.{name}Response"]

        async def call(request, context):
            try:
                return tell(**await answer(request, context))
            except Bad as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

        return grpc.unary_unary_rpc_method_handler(call, ask.FromString, tell.SerializeToString)

    methods = {
        "ServerReady": server_ready,
        "ModelReady": model_ready,
        "ModelMetadata": metadata,
        "ModelInfer": infer,
    }
    return grpc.method_handlers_generic_handler(
        "inference.GRPCInferenceService", {name: handler(name, method) for name, method in methods.items()}
    )


async def serve(folder: Path, http: int, grpc_port: int, engine: str) -> None:
    """Load every model of the folder, and answer on both ports until SIGTERM or SIGINT."""
    import grpc
    import uvicorn

    service = Service(folder, engine)
    for one in sorted(folder.iterdir()):
        if (one / "config.pbtxt").exists():
            service.load(one.name)
    remote = grpc.aio.server()
    remote.add_generic_rpc_handlers([grpc_handlers(service)])
    remote.add_insecure_port(f"127.0.0.1:{grpc_port}")
    await remote.start()
    settings = uvicorn.Config(http_app(service), port=http, log_level="warning", timeout_graceful_shutdown=5)
    await uvicorn.Server(settings).serve()
    await remote.stop(grace=5)
    for model in service.models.values():
        model.close()


def command(folder: Path, http: int, grpc_port: int, engine: str = "openvino") -> list[str]:
    """The command line of this server."""
    return serving.module("openvino_server", folder, "--http", http, "--grpc", grpc_port, "--engine", engine)


@contextlib.contextmanager
def running(folder: Path, engine: str = "openvino") -> Iterator[Addresses]:
    """The server with the models of a repository, in a process of its own, for as long as the block lasts."""
    http, grpc_port = free_ports(2)
    base = f"http://127.0.0.1:{http}"
    with serving.running(command(folder, http, grpc_port, engine), f"{base}/v2/health/ready"):
        yield Addresses(base, f"grpc://127.0.0.1:{grpc_port}", base)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the model repository")
    parser.add_argument(
        "--http", type=int, required=True, help="port of KServe v2 over HTTP, and of /metrics"
    )
    parser.add_argument("--grpc", type=int, required=True, help="port of KServe v2 over gRPC")
    parser.add_argument("--engine", choices=ENGINES, default="openvino")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.folder, arguments.http, arguments.grpc, arguments.engine))


if __name__ == "__main__":
    main()
