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
    # the messages: the next stage sends a gradient before it receives, so an activation leaves after that
    first, last = stage == 0, stage == stages - 1
    actions, waiting = [], None
    for kind, j in work:
        if kind == "forward":
            if waiting is not None:
                actions.append(("send_forward", waiting))
            if not first:
                actions.append(("recv_forward", j))
            actions.append((kind, j))
            waiting = None if last else j
        else:
            if not last:
                actions.append(("recv_backward", j))
            if waiting is not None:
                actions.append(("send_forward", waiting))
                waiting = None
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
