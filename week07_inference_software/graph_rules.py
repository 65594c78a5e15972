"""A graph optimiser by rule, on torch.fx: batch norms go into convolutions, and so do the ReLUs after them."""

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

# ---- rule 1


def folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that does what the two do in evaluation mode.

    The norm multiplies channel c by s = weight / sqrt(running_var + eps) and adds bias - s * running_mean. A
    convolution is linear, so s can be multiplied into its filters.
    """
    s = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    old = convolution.bias if convolution.bias is not None else torch.zeros_like(norm.running_mean)
    new = copy.deepcopy(convolution)
    new.weight = nn.Parameter((convolution.weight * s[:, None, None, None]).detach())
    new.bias = nn.Parameter((norm.bias + s * (old - norm.running_mean)).detach())
    return new


def fold_batch_norms(model: nn.Module) -> fx.GraphModule:
    """A copy of the model in which each batch norm that directly follows a convolution is part of it.

    A convolution whose output goes elsewhere too keeps its norm. Raises ValueError for a model in training mode, in
    which a norm uses the statistics of each batch and cannot be folded.
    """
    if model.training:
        raise ValueError("batch norms can be folded in evaluation mode only; call model.eval() first")
    graph_module = fx.symbolic_trace(copy.deepcopy(model))
    modules = dict(graph_module.named_modules())
    for node in list(graph_module.graph.nodes):
        before = node.args[0] if node.args else None
        if (
            is_module(node, modules, nn.BatchNorm2d)
            and is_module(before, modules, nn.Conv2d)
            and len(before.users) == 1
        ):
            name = str(before.target)
            graph_module.set_submodule(name, folded(modules[name], modules[str(node.target)]))
            node.replace_all_uses_with(before)
            graph_module.graph.erase_node(node)
    return _finished(graph_module)


def is_module(node: Any, modules: dict[str, nn.Module], kind: type) -> bool:
    """Whether a node of a graph calls a module of this kind."""
    return (
        isinstance(node, fx.Node) and node.op == "call_module" and isinstance(modules[str(node.target)], kind)
    )


def _finished(graph_module: fx.GraphModule) -> fx.GraphModule:
    graph_module.delete_all_unused_submodules()
    graph_module.graph.lint()
    graph_module.recompile()
    return graph_module


# ---- rule 2


class ConvolutionReLU(nn.Module):
    """A convolution that clips each number before it writes it: oneDNN's fused operation, which Inductor calls too.

    The operation is no public part of PyTorch; :func:`fuses_here` says whether this build has it.
    """

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        c = convolution
        self.weight, self.bias = c.weight, c.bias
        self.options = c.padding, c.stride, c.dilation, c.groups

    def forward(self, x: Tensor) -> Tensor:
        """(images, channels, height, width), float32 on a CPU, in inference only."""
        call = torch.ops.mkldnn._convolution_pointwise
        return call(x, self.weight, self.bias, *self.options, "relu", [], "")


def fuses_here() -> bool:
    """Whether this build of PyTorch has the fused operation."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether a node is a ReLU, as a module or as a function."""
    return is_module(node, modules, nn.ReLU) or node.target in (torch.relu, nn.functional.relu)


def fuse_relus(model: nn.Module) -> fx.GraphModule:
    """A copy of the model in which a convolution whose output only goes to a ReLU does that, too."""
    graph_module = fx.symbolic_trace(copy.deepcopy(model))
    modules = dict(graph_module.named_modules())
    for node in list(graph_module.graph.nodes):
        before = node.args[0] if node.args else None
        if is_relu(node, modules) and is_module(before, modules, nn.Conv2d) and len(before.users) == 1:
            name = str(before.target)
            graph_module.set_submodule(name, ConvolutionReLU(modules[name]))
            node.replace_all_uses_with(before)
            graph_module.graph.erase_node(node)
    return _finished(graph_module)


# ---- a change of layout


class ChannelsInnermost(nn.Module):
    """A copy of a model whose tensors keep the channels of one pixel side by side; the answer is the same."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = copy.deepcopy(model).to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """(images, channels, height, width) in any layout."""
        return self.model(x.to(memory_format=torch.channels_last))


# ---- what a graph costs


class Bytes(fx.Interpreter):
    """Runs a graph and counts what its operations read and write: inputs, weights and outputs, each once per node."""

    def __init__(self, graph_module: fx.GraphModule):
        super().__init__(graph_module)
        self.total = 0
        self.operations = 0

    def run_node(self, n: fx.Node) -> Any:
        """As its parent does it; counts on the way."""
        result = super().run_node(n)
        if n.op.startswith("call"):
            read: list[Tensor] = []
            map_arg(n.args, lambda a: read.append(self.env[a]))
            if n.op == "call_module":
                module = self.module.get_submodule(str(n.target))
                read += [*module.parameters(), *module.buffers()]
            self.total += sum(t.nbytes for t in [*read, result] if isinstance(t, Tensor))
            self.operations += 1
        return result


def counted(model: nn.Module, x: Tensor) -> Bytes:
    """Bytes and operations of a model on one input."""
    counter = Bytes(fx.symbolic_trace(model))
    # A value is dropped after its last use otherwise, before it is counted.
    counter.garbage_collect_values = False
    with torch.inference_mode():
        counter.run(x)
    return counter
