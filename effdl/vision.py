"""torchvision on any build of torch: `from effdl.vision import torchvision`.

The torchvision wheel of the package index holds compiled operators that need the CUDA build of torch. On a CPU
build they do not load, and `import torchvision` stops at the first operator for which it wants to register a
shape function, although models, transforms and data sets are plain Python. Here those two operators are declared
without an implementation, and the import goes through.

What needs the compiled part still fails then, with an error that names the operator: `torchvision.ops.nms`,
`roi_align`, the detection models, and `torchvision.io`'s decoders (use Pillow).
"""

import importlib
import sys

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _import_torchvision():
    """Import torchvision, with its operators declared where its own library did not load.

    The plain import comes first: where the library does load, a second declaration would be an error.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    for schema in SCHEMAS:
        torch.library.define(f"torchvision::{schema.split('(')[0]}", schema[schema.index("(") :])
    return importlib.import_module("torchvision")


torchvision = _import_torchvision()
