"""The model of kv_cache.py as an ONNX file, which runs without Python."""

import torch
from kv_cache import forward


def to_onnx(weights: dict[str, torch.Tensor], heads: int) -> bytes:
    """Return an ONNX file that computes `forward`: input "tokens" [batch, length], int64, output "logits".

    Its weights lie inside. It takes every batch, and every length from 2 to the number of positions.
    """
    ### BEGIN SOLUTION
    import io

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.names = {name.replace(".", "_"): name for name in weights}
            for name, original in self.names.items():
                self.register_buffer(name, weights[original])

        def forward(self, tokens):
            return forward({name: getattr(self, own) for own, name in self.names.items()}, tokens, heads)

    places = len(weights["position"])
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=places)}
    program = torch.onnx.export(
        Model().eval(),
        (torch.zeros(2, 3, dtype=torch.int64),),
        input_names=["tokens"],
        output_names=["logits"],
        dynamic_shapes=(sizes,),
        dynamo=True,
        verbose=False,
    )
    file = io.BytesIO()
    program.save(file)
    return file.getvalue()
    ### END SOLUTION
