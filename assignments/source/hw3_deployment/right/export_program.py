# replaces: export.py
# method: torch.export first, with sizes named Dim.DYNAMIC; the program becomes ONNX
import io

import kv_cache
import torch
from torch.export import Dim


class Net(torch.nn.Module):
    def __init__(self, weights, heads):
        super().__init__()
        self.values = torch.nn.ParameterList([torch.nn.Parameter(value, False) for value in weights.values()])
        self.keys, self.heads = list(weights), heads

    def forward(self, tokens):
        return kv_cache.forward(dict(zip(self.keys, self.values, strict=True)), tokens, self.heads)


def to_onnx(weights, heads):
    example = torch.ones(3, 4, dtype=torch.int64)
    exported = torch.export.export(
        Net(weights, heads), (example,), dynamic_shapes=({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},)
    )
    program = torch.onnx.export(exported, input_names=["tokens"], output_names=["logits"], verbose=False)
    stream = io.BytesIO()
    program.save(stream)
    return stream.getvalue()
