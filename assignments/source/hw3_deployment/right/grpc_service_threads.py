# replaces: grpc_service.py
# method: the threads of grpc.server, messages of protobuf's own, the batcher in an event loop beside them
import asyncio
import signal
import threading
from concurrent import futures

import grpc
from batcher import Batcher, Closed, Full
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def messages():
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="inference.proto", package="inference", syntax="proto3")
    asked = file.message_type.add(name="InstanceDetectorInput")
    asked.field.add(name="image", number=1, type=field.TYPE_BYTES, label=field.LABEL_OPTIONAL)
    answer = file.message_type.add(name="InstanceDetectorOutput")
    answer.field.add(name="objects", number=1, type=field.TYPE_STRING, label=field.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}"))
        for name in ("InstanceDetectorInput", "InstanceDetectorOutput")
    ]


def serve_grpc(model, port, max_batch, max_wait, max_queue):
    Input, Output = messages()
    loop = asyncio.new_event_loop()
    beside = threading.Thread(target=loop.run_forever, daemon=True)
    beside.start()
    batcher = Batcher(lambda images: asyncio.to_thread(model, images), max_batch, max_wait, max_queue)

    def predict(request, context):
        if len(request.image) != 64:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "64 bytes")
        rows = [list(request.image[8 * row : 8 * row + 8]) for row in range(8)]
        try:
            names = asyncio.run_coroutine_threadsafe(batcher.predict(rows), loop).result()
        except Full:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        except Closed:
            context.abort(grpc.StatusCode.UNAVAILABLE, "ends")
        except Exception:
            context.abort(grpc.StatusCode.INTERNAL, "the model failed")
        return Output(objects=names)

    server = grpc.server(futures.ThreadPoolExecutor(100), options=[("grpc.so_reuseport", 0)])
    handler = grpc.unary_unary_rpc_method_handler(predict, Input.FromString, Output.SerializeToString)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("inference.InstanceDetector", {"Predict": handler})]
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server.start()
    stop.wait()
    ended = server.stop(30)
    asyncio.run_coroutine_threadsafe(batcher.close(), loop).result()
    ended.wait()
    loop.call_soon_threadsafe(loop.stop)
    beside.join()
