"""One client for inference servers that speak the KServe version 2 protocol, over HTTP and over gRPC.

NVIDIA Triton, OpenVINO Model Server, TorchServe, MLServer and KServe's own runtimes speak it. Over HTTP a tensor is
a list of numbers in JSON, or, by the *binary tensor data extension*, JSON without numbers and then the bytes. Over
gRPC it is a message whose `raw_input_contents` are the same bytes.

https://kserve.github.io/website/ and the Open Inference Protocol; extension_binary_data.md of Triton's server.
"""

import functools
import http.client
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

HERE = Path(__file__).parent
LENGTH = "Inference-Header-Content-Length"  # bytes of JSON in front of the bytes of the tensors
DATATYPES = {  # the protocol's names; BYTES (strings, each with its length) is left out
    "BOOL": "?",
    **{f"UINT{8 * size}": f"<u{size}" for size in (1, 2, 4, 8)},
    **{f"INT{8 * size}": f"<i{size}" for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}
NAMES = {np.dtype(code): name for name, code in DATATYPES.items()}
PATIENCE = 60.0  # seconds until a call fails


class Refused(Exception):
    """The server answered with an error; `status` is HTTP's number or gRPC's name."""

    def __init__(self, status: int | str, words: str):
        super().__init__(f"{status}: {words}")
        self.status = status


def pack(kind: str, tensors: Mapping[str, np.ndarray], binary: bool = True) -> tuple[dict[str, str], bytes]:
    """The headers and the body of a request (`kind` "inputs") or of an answer ("outputs")."""
    entries: list[dict[str, Any]] = []
    tail = []
    for name, value in tensors.items():
        entry = {"name": name, "shape": list(value.shape), "datatype": NAMES[value.dtype]}
        if binary:
            raw = np.ascontiguousarray(value).tobytes()
            entry["parameters"] = {"binary_data_size": len(raw)}
            tail.append(raw)
        else:
            entry["data"] = value.ravel().tolist()
        entries.append(entry)
    head: dict[str, Any] = {kind: entries}
    if kind == "inputs":
        head["parameters"] = {"binary_data_output": binary}
    words = json.dumps(head, separators=(",", ":")).encode()
    if not binary:
        return {"Content-Type": "application/json"}, words
    return {"Content-Type": "application/octet-stream", LENGTH: str(len(words))}, words + b"".join(tail)


def unpack(kind: str, headers: Mapping[str, str], body: bytes) -> dict[str, np.ndarray]:
    """The tensors of a request or an answer, whichever of its tensors are binary.

    Raises ValueError where sizes do not fit, KeyError where an entry lacks a field.
    """
    length = int(headers.get(LENGTH) or headers.get(LENGTH.lower()) or len(body))
    tensors, place = {}, length
    for entry in json.loads(body[:length])[kind]:
        kind_of_number, shape = np.dtype(DATATYPES[entry["datatype"]]), entry["shape"]
        size = entry.get("parameters", {}).get("binary_data_size")
        if size is None:
            value = np.array(entry["data"], kind_of_number)
        else:
            value = np.frombuffer(body[place : place + size], kind_of_number)
            place += size
        tensors[entry["name"]] = value.reshape(shape)
    return tensors


@functools.cache
def messages(name: str = "kserve") -> dict[str, Any]:
    """The message classes of a .proto file of this folder, by full name: no generated code, a third of a second."""
    from google.protobuf import descriptor_pb2, message_factory
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set"
        status = protoc.main(["protoc", f"-I{HERE}", f"--descriptor_set_out={target}", f"{name}.proto"])
        if status:
            raise RuntimeError(f"protoc does not accept {name}.proto")
        files = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
    return dict(message_factory.GetMessages(files.file))


class HttpClient:
    """A client with one connection, for one thread. `sent` and `received` count the bytes of bodies."""

    def __init__(self, address: str):
        self._connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        self.sent = self.received = 0

    def call(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""):
        """The headers and body of an answer. Raises Refused."""
        self._connection.request(method, path, body or None, dict(headers or {}))
        answer = self._connection.getresponse()
        content = answer.read()
        self.sent, self.received = self.sent + len(body), self.received + len(content)
        if answer.status >= 300:
            raise Refused(answer.status, content.decode("utf-8", "replace"))
        return answer.headers, content

    def ready(self, model: str = "") -> bool:
        """Whether the server, or one of its models, takes requests."""
        try:
            self.call("GET", f"/v2/models/{model}/ready" if model else "/v2/health/ready")
        except Refused:
            return False
        return True

    def metadata(self, model: str) -> dict[str, Any]:
        """Names, types and shapes of a model's inputs and outputs; -1 where a size is free."""
        return json.loads(self.call("GET", f"/v2/models/{model}")[1])

    def infer(
        self, model: str, tensors: Mapping[str, np.ndarray], binary: bool = True
    ) -> dict[str, np.ndarray]:
        """The outputs of a model for these inputs. Raises Refused."""
        headers, body = pack("inputs", tensors, binary)
        return unpack("outputs", *self.call("POST", f"/v2/models/{model}/infer", headers, body))

    def statistics(self, model: str) -> dict[str, Any]:
        """What the server has counted: `inference_count` rows in `execution_count` executions, and times."""
        return json.loads(self.call("GET", f"/v2/models/{model}/stats")[1])["model_stats"][0]

    def load(self, model: str) -> None:
        """Load a model of the repository, or load it again with its new configuration. Raises Refused."""
        self.call("POST", f"/v2/repository/models/{model}/load")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class GrpcClient:
    """The same calls over gRPC; any number of threads may share one."""

    def __init__(self, address: str):
        import grpc

        self._grpc, self._kinds = grpc, messages()
        # Servers are asked directly, whatever proxy the environment names.
        self._channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])

    def call(self, method: str, **fields: Any):
        """The answer of a method of `inference.GRPCInferenceService`. Raises Refused."""
        ask, answer = self._kinds[f"inference.{method}Request"], self._kinds[f"inference.{method}Response"]
        remote = self._channel.unary_unary(
            f"/inference.GRPCInferenceService/{method}",
            request_serializer=ask.SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            return remote(ask(**fields), timeout=PATIENCE)
        except self._grpc.RpcError as error:
            raise Refused(error.code().name, error.details() or "") from None

    def ready(self, model: str = "") -> bool:
        """Whether the server, or one of its models, takes requests."""
        try:
            return (self.call("ModelReady", name=model) if model else self.call("ServerReady")).ready
        except Refused:
            return False

    def metadata(self, model: str) -> dict[str, Any]:
        """As `HttpClient.metadata`."""
        found = self.call("ModelMetadata", name=model)
        sides = {
            side: [
                {"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in getattr(found, side)
            ]
            for side in ("inputs", "outputs")
        }
        return {"name": found.name, "versions": list(found.versions), "platform": found.platform, **sides}

    def infer(self, model: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a model for these inputs. Raises Refused."""
        inputs = [
            {"name": name, "datatype": NAMES[value.dtype], "shape": value.shape}
            for name, value in tensors.items()
        ]
        raw = [np.ascontiguousarray(value).tobytes() for value in tensors.values()]
        answer = self.call("ModelInfer", model_name=model, inputs=inputs, raw_input_contents=raw)
        return {
            output.name: np.frombuffer(content, DATATYPES[output.datatype]).reshape(output.shape)
            for output, content in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def client(address: str) -> HttpClient | GrpcClient:
    """A client for an address such as http://127.0.0.1:8000 or grpc://127.0.0.1:8001.

    Raises ValueError for another scheme.
    """
    parts = urlsplit(address)
    kinds = {"http": HttpClient, "grpc": GrpcClient}
    if parts.scheme not in kinds:
        raise ValueError(f"{address}: the address of a server starts with http:// or grpc://")
    return kinds[parts.scheme](parts.netloc)
