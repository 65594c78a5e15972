# replaces: pipeline.py
# method: the schedule asks how many are in flight, then weaves messages in; the loop is ifs over dictionaries
import torch
import torch.distributed as dist


def one_forward_one_backward(stage, stages, micro_batches):
    # the order of work
    work, started, ended = [], 0, 0
    while ended < micro_batches:
        if started < micro_batches and started - ended < stages - stage:
            work.append(("forward", started))
            started += 1
        else:
            work.append(("backward", ended))
            ended += 1
    # The messages. While the pipeline is full, the next stage sends a gradient before it receives an activation.
    first, last = stage == 0, stage == stages - 1
    actions = []
    for (kind, j), (then, i) in zip(work, [*work[1:], (None, None)], strict=True):
        if kind == "forward":
            if not first:
                actions.append(("recv_forward", j))
            actions.append((kind, j))
            if not last:
                if then == "backward" and j - i == stages - stage - 1:
                    actions.append(("recv_backward", i))
                actions.append(("send_forward", j))
        else:
            if not last and ("recv_backward", j) not in actions:
                actions.append(("recv_backward", j))
            actions.append((kind, j))
            if not first:
                actions.append(("send_backward", j))
    return actions


def run_stage(module, actions, inputs, targets, loss_fn, shapes, rank, size):
    first, last = rank == 0, rank == size - 1
    dtype = next(module.parameters()).dtype
    arrived, results, received, to_send = {}, {}, {}, {}
    loss_sum, total = 0.0, sum(len(t) for t in targets) if last else None

    for kind, j in actions:
        if kind == "recv_forward":
            buffer = torch.empty(shapes[j], dtype=dtype)
            dist.recv(buffer, rank - 1)
            arrived[j] = buffer.requires_grad_()
        elif kind == "forward":
            if first:
                arrived[j] = inputs[j]
            results[j] = module(arrived[j])
            if last:
                loss = loss_fn(results[j], targets[j]) * (len(targets[j]) / total)
                loss_sum += loss.item()
                results[j] = loss
        elif kind == "send_forward":
            dist.send(results[j].detach().contiguous(), rank + 1)
        elif kind == "recv_backward":
            received[j] = torch.empty(results[j].shape, dtype=dtype)
            dist.recv(received[j], rank + 1)
        elif kind == "backward":
            results.pop(j).backward(received.pop(j, None))
            value = arrived.pop(j)
            if not first:
                to_send[j] = value.grad
        elif kind == "send_backward":
            dist.send(to_send.pop(j).contiguous(), rank - 1)
    return loss_sum if last else None
