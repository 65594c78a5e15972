# replaces: pipeline.py
# method: warm-up, steady state and cool-down written one by one; a loop with one table of tensors per micro-batch
import torch
import torch.distributed as dist


def one_forward_one_backward(stage, stages, micro_batches):
    first, last = stage == 0, stage == stages - 1
    warm = min(stages - stage - 1, micro_batches)
    actions = []

    def add(kind, j):
        if not (first and kind in ("recv_forward", "send_backward")) and not (
            last and kind in ("send_forward", "recv_backward")
        ):
            actions.append((kind, j))

    for j in range(warm):
        for kind in ("recv_forward", "forward", "send_forward"):
            add(kind, j)
    for i in range(micro_batches - warm):
        add("recv_forward", warm + i)
        add("forward", warm + i)
        add("recv_backward", i)
        add("send_forward", warm + i)
        add("backward", i)
        add("send_backward", i)
    for i in range(micro_batches - warm, micro_batches):
        for kind in ("recv_backward", "backward", "send_backward"):
            add(kind, i)
    return actions


def run_stage(module, actions, inputs, targets, loss_fn, shapes, rank, size):
    dtype = next(module.parameters()).dtype
    kept = [dict() for _ in range(len(inputs or targets or shapes))]
    losses = []
    if targets is not None:
        samples = sum(map(len, targets))
    for kind, j in actions:
        mine = kept[j]
        match kind:
            case "recv_forward":
                mine["x"] = torch.empty(*shapes[j], dtype=dtype)
                dist.recv(mine["x"], rank - 1)
            case "forward":
                x = mine.setdefault("x", None)
                if x is None:
                    x = inputs[j]
                else:
                    x.requires_grad_(True)
                mine["y"] = module(x)
            case "send_forward":
                dist.send(mine["y"].detach().contiguous(), rank + 1)
            case "recv_backward":
                mine["g"] = mine["y"].new_empty(mine["y"].shape)
                dist.recv(mine["g"], rank + 1)
            case "backward":
                if rank == size - 1:
                    # a mean over rows becomes this micro-batch's part of the mean over all rows
                    loss = loss_fn(mine["y"], targets[j]) * len(targets[j]) / samples
                    losses.append(loss.item())
                    loss.backward()
                    del loss
                else:
                    mine["y"].backward(mine["g"])
                gradient = mine["x"].grad if mine["x"] is not None else None
                mine.clear()
                mine["dx"] = gradient
            case "send_backward":
                dist.send(mine.pop("dx").contiguous(), rank - 1)
    return sum(losses) if rank == size - 1 else None
