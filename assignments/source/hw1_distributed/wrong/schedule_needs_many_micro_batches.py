# replaces: pipeline.py
# caught by: schedule_of_other_sizes
# mistake: fills the pipeline with more micro-batches than there are
import torch
import torch.distributed as dist

Action = tuple[str, int]


def one_forward_one_backward(stage, stages, micro_batches):
    first, last = (stage == 0, stage == stages - 1)
    filling = stages - stage - 1
    alternating = micro_batches - filling
    actions = []

    def act(condition, kind, micro_batch):
        if condition:
            actions.append((kind, micro_batch))

    for number in range(filling):
        act(not first, "recv_forward", number)
        act(True, "forward", number)
        act(not last, "send_forward", number)
    act(not first and alternating > 0, "recv_forward", filling)
    for number in range(alternating):
        act(True, "forward", filling + number)
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


def run_stage(module, actions, inputs, targets, loss_fn, shapes, rank, size):
    last = rank == size - 1
    rows = sum(len(target) for target in targets) if last else 0
    like = next(module.parameters())
    arrived, running, gradients, outgoing = ({}, {}, {}, {})
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
            running[number] = (value, output)
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
