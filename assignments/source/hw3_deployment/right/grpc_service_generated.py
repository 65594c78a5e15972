# replaces: grpc_service.py
# method: grpc.aio with the servicer and the messages that grpc_tools generates, when the module is imported
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

import grpc
from batcher import Batcher, Closed, Full

PROTO = """
syntax = "proto3";
package inference;
service InstanceDetector { rpc Predict(InstanceDetectorInput) returns (InstanceDetectorOutput); }
message InstanceDetectorInput { bytes image = 1; }
message InstanceDetectorOutput { repeated string objects = 1; }
"""
with tempfile.TemporaryDirectory() as folder:
    (Path(folder) / "inference.proto").write_text(PROTO)
    sys.path.insert(0, folder)
    protos, services = grpc.protos_and_services("inference.proto")
    sys.path.remove(folder)


class Detector(services.InstanceDetectorServicer):
    def __init__(self, batcher):
        self.batcher = batcher

    async def Predict(self, request, context):
        if len(request.image) != 64:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT)
        pixels = list(request.image)
        try:
            names = await self.batcher.predict([pixels[row * 8 : row * 8 + 8] for row in range(8)])
        except Full:
            context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
            return protos.InstanceDetectorOutput()
        except Closed:
            context.set_code(grpc.StatusCode.UNAVAILABLE)
            return protos.InstanceDetectorOutput()
        except Exception:
            context.set_code(grpc.StatusCode.INTERNAL)
            return protos.InstanceDetectorOutput()
        return protos.InstanceDetectorOutput(objects=names)


async def run(model, port, max_batch, max_wait, max_queue):
    async def ask(images):
        return await asyncio.get_running_loop().run_in_executor(None, model, images)

    batcher = Batcher(ask, max_batch, max_wait, max_queue)
    server = grpc.aio.server()
    services.add_InstanceDetectorServicer_to_server(Detector(batcher), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await server.start()
    await ended.wait()
    closing = asyncio.create_task(batcher.close())
    await server.stop(30)
    await closing


def serve_grpc(model, port, max_batch, max_wait, max_queue):
    asyncio.run(run(model, port, max_batch, max_wait, max_queue))
