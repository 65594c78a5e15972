# replaces: export.py
# method: the graph written node by node, without an exporter
import numpy as np
from onnx import TensorProto, helper, numpy_helper


def to_onnx(weights, heads):
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(kind, *inputs, **attributes):
        out = f"v{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    weight = {name: constant(f"w_{name}", value.numpy()) for name, value in weights.items()}
    width = weights["token"].shape[1]
    ones, zeros = constant("ones", np.ones(width, np.float32)), constant("zeros", np.zeros(width, np.float32))

    def norm(x):
        return node("LayerNormalization", x, ones, zeros, axis=-1, epsilon=1e-5)

    zero, one = constant("zero", np.int64(0)), constant("one", np.int64(1))
    places = node("Range", zero, node("Gather", node("Shape", "tokens"), one), one)
    hidden = node(
        "Add", node("Gather", weight["token"], "tokens"), node("Gather", weight["position"], places)
    )
    query_at = node("Unsqueeze", places, constant("last", np.array([1])))
    late = node("Cast", node("Greater", places, query_at), to=TensorProto.FLOAT)
    mask = node("Mul", late, constant("minus", np.float32(-1e30)))
    split = constant("split", np.array([0, 0, 3, heads, width // heads]))
    whole = constant("whole", np.array([0, 0, width]))
    scale = constant("scale", np.float32((width // heads) ** -0.5))
    for layer in range(sum(name.endswith("qkv") for name in weights)):
        mixed = node("Reshape", node("MatMul", norm(hidden), weight[f"{layer}.qkv"]), split)
        mixed = node("Transpose", mixed, perm=[2, 0, 3, 1, 4])
        q, k, v = (
            node("Gather", mixed, constant(f"{layer}_{part}", np.int64(part)), axis=0) for part in range(3)
        )
        scores = node("Mul", node("MatMul", q, node("Transpose", k, perm=[0, 1, 3, 2])), scale)
        seen = node("MatMul", node("Softmax", node("Add", scores, mask), axis=-1), v)
        seen = node("Reshape", node("Transpose", seen, perm=[0, 2, 1, 3]), whole)
        hidden = node("Add", hidden, node("MatMul", seen, weight[f"{layer}.out"]))
        wide = node("Relu", node("MatMul", norm(hidden), weight[f"{layer}.up"]))
        hidden = node("Add", hidden, node("MatMul", wide, weight[f"{layer}.down"]))
    words = node("Transpose", weight["token"], perm=[1, 0])
    nodes.append(helper.make_node("MatMul", [norm(hidden), words], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", "length"])],
        [
            helper.make_tensor_value_info(
                "logits", TensorProto.FLOAT, ["batch", "length", len(weights["token"])]
            )
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()
