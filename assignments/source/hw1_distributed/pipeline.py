"""A pipeline of stages, one per rank: who does what in which order, and the loop that does it.

An action is a pair (kind, micro-batch). Kinds, for the stage s of a pipeline:

    ("recv_forward", j)    receive the activation of micro-batch j from stage s - 1
    ("forward", j)         run the stage on it
    ("send_forward", j)    send the result to stage s + 1
    ("recv_backward", j)   receive the gradient of that result from stage s + 1
    ("backward", j)        run the stage's backward pass
    ("send_backward", j)   send the gradient of the activation to stage s - 1

The first stage receives no activation and sends no gradient, the last sends no activation and receives no
gradient. Messages block: a send ends when the other side receives, and the other way round.
"""

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import nn

Action = tuple[str, int]


def one_forward_one_backward(stage: int, stages: int, micro_batches: int) -> list[Action]:
    """Return what `stage` (0 <= stage < stages) does in one training step, in order (1F1B, Narayanan et al. 2019).

    After a few forward passes that fill the pipeline, a stage alternates one forward and one backward pass.
    Micro-batches come in the order 0, 1, ..., in forward and in backward. Stage s never holds more than
    stages - s micro-batches between their forward and their backward pass. All stages together never deadlock,
    and take no longer than (micro_batches + stages - 1) times one forward and one backward pass.
    """
    ### BEGIN SOLUTION
    first, last = stage == 0, stage == stages - 1
    filling = min(stages - stage - 1, micro_batches)
    alternating = micro_batches - filling
    actions: list[Action] = []

    def act(condition: bool, kind: str, micro_batch: int) -> None:
        if condition:
            actions.append((kind, micro_batch))

    for number in range(filling):
        act(not first, "recv_forward", number)
        act(True, "forward", number)
        act(not last, "send_forward", number)
    act(not first and alternating > 0, "recv_forward", filling)
    for number in range(alternating):
        act(True, "forward", filling + number)
        # Both ends of a cable agree: the activation goes down before the gradient comes up.
        act(not last, "send_forward", filling + number)
        act(not last, "recv_backward", number)
        act(True, "backward", number)
        act(not first and number < alternating - 1, "recv_forward", filling + number + 1)
        act(not first, "send_backward", number)
    for number in range(alternating, micro_batches):
        act(not last, "recv_backward", number)
        act(True, "backward", number)
        act(not first, "send_backward", number)
    return actions
    ### END SOLUTION


def run_stage(
    module: nn.Module,
    actions: Sequence[Action],
    inputs: Sequence[torch.Tensor] | None,
    targets: Sequence[torch.Tensor] | None,
    loss_fn: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    shapes: Sequence[tuple[int, ...]] | None,
    rank: int,
    size: int,
) -> float | None:
    """Do `actions` in their order, with `module` as stage `rank` of `size`; gradients add to `.grad`.

    `inputs` are the micro-batches, on the first stage only; `targets` on the last only. On all stages but the
    first, `shapes[j]` is the shape of the activation of micro-batch j that arrives; it has the dtype of the
    module's parameters. `loss_fn(output, target)` is the mean over the rows of a micro-batch. The gradient is
    that of the mean loss over all rows of all micro-batches, which may differ in size. Returns this mean loss
    on the last stage, None elsewhere. Messages go through `dist.send` and `dist.recv`, one per message action.
    What a micro-batch needs is kept from its forward to its backward pass, and no longer.
    """
    ### BEGIN SOLUTION
    last = rank == size - 1
    rows = sum(len(target) for target in targets) if last else 0
    like = next(module.parameters())
    arrived, running, gradients, outgoing = {}, {}, {}, {}
    mean_loss = 0.0
    for kind, number in actions:
        if kind == "recv_forward":
            arrived[number] = torch.empty(shapes[number], dtype=like.dtype, device=like.device)
            dist.recv(arrived[number], rank - 1)
        elif kind == "forward":
            value = inputs[number] if rank == 0 else arrived.pop(number).requires_grad_()
            output = module(value)
            if last:
                output = loss_fn(output, targets[number]) * (len(targets[number]) / rows)
                mean_loss += output.item()
            running[number] = value, output
        elif kind == "send_forward":
            dist.send(running[number][1].detach().contiguous(), rank + 1)
        elif kind == "recv_backward":
            gradients[number] = torch.empty_like(running[number][1], memory_format=torch.contiguous_format)
            dist.recv(gradients[number], rank + 1)
        elif kind == "backward":
            value, output = running.pop(number)
            output.backward(gradients.pop(number, None))
            if rank > 0:
                outgoing[number] = value.grad.contiguous()
        else:
            dist.send(outgoing.pop(number), rank - 1)
    return mean_loss if last else None
    ### END SOLUTION
