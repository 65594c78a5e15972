"""The program that NVIDIA Triton's Python backend runs for a model: a file `model.py` in the model repository.

It runs in the Python of `.venv-triton`, in a process of its own beside the server. `repository.write` copies it.
"""

import json
from pathlib import Path

import numpy as np


class TritonPythonModel:
    """What the server calls: `initialize` once for each instance, `execute` for each batch of requests."""

    def initialize(self, args):
        """Load the network that lies beside this file, with one thread."""
        import onnxruntime

        parameters = json.loads(args["model_config"]).get("parameters", {})
        self.one_by_one = "one_by_one" in parameters
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        file = Path(__file__).with_name("model.onnx")
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        """One response for each request. The server has waited and gathered; joining is left to us."""
        import triton_python_backend_utils as pb

        images = [pb.get_input_tensor_by_name(request, "image").as_numpy() for request in requests]
        if self.one_by_one:
            answers = [self.session.run(["scores", "rows"], {"image": image}) for image in images]
        else:
            together = self.session.run(["scores", "rows"], {"image": np.concatenate(images)})
            ends = np.cumsum([len(image) for image in images])[:-1]
            answers = zip(*(np.split(output, ends) for output in together), strict=True)
        return [
            pb.InferenceResponse([pb.Tensor("scores", scores), pb.Tensor("rows", rows)])
            for scores, rows in answers
        ]
