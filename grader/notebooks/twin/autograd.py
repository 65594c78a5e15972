"""Gradients through a student's function: the graph stays on the student's side, backward asks for it."""

from __future__ import annotations

import functools
from typing import Any, Protocol

from grader.later import torch
from grader.sandbox import wire


class Peer(Protocol):
    """The pristine side, as far as gradients must know it."""

    def request(self, head: dict[str, Any], blobs: tuple[torch.Tensor, ...]) -> Any: ...

    def forget_graph(self, call: int) -> None: ...


class Graph:
    """Stands for the graph of one call; when nobody holds it any more, the student's side may drop the graph."""

    def __init__(self, peer: Peer, call: Any, inputs: list[torch.Tensor]):
        if type(call) is not int:
            raise wire.WireError("a call without a number")
        self.peer, self.call, self.inputs = peer, call, inputs

    def __del__(self) -> None:
        if hasattr(self, "call"):
            self.peer.forget_graph(self.call)


@functools.cache
def _remote() -> Any:
    class Remote(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any,
            graph: Graph,
            slot: int,
            value: torch.Tensor,
            anchor: torch.Tensor,
            *inputs: torch.Tensor,
        ) -> Any:
            ctx.graph, ctx.slot, ctx.inputs = graph, slot, [(tensor.shape, tensor.dtype) for tensor in inputs]
            return value.detach().clone()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, gradient: torch.Tensor) -> Any:
            graph = ctx.graph
            head = {"op": "backward", "call": graph.call, "slot": ctx.slot, "inputs": len(ctx.inputs)}
            found = graph.peer.request(head, (gradient.contiguous(),))
            if type(found) is not list or len(found) != len(ctx.inputs):
                raise RuntimeError("the student's process sent no gradients")
            for one, (shape, dtype) in zip(found, ctx.inputs, strict=True):
                if one is not None and (
                    not isinstance(one, torch.Tensor) or (one.shape, one.dtype) != (shape, dtype)
                ):
                    raise RuntimeError("the student's process sent a gradient of another shape")
            return None, None, None, None, *found

    return Remote


def graft(graph: Graph, slot: int, value: torch.Tensor) -> torch.Tensor:
    """Return `value`, output number `slot` of a call, as a function of the tensors that the call was given."""
    # Where no input needs a gradient, the student's own parameters do.
    anchor = torch.zeros((), requires_grad=True)
    return _remote().apply(graph, slot, value, anchor, *graph.inputs)
