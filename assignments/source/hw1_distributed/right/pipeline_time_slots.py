# replaces: pipeline.py
# method: every action gets its time slot from the diagram and the list is sorted; the loop is an object whose methods
#   are the actions
import torch
import torch.distributed as dist


def one_forward_one_backward(stage, stages, micro_batches):
    def forward_slot(s, j):
        return s + j if j < stages - s else s + 2 * j

    def backward_slot(s, j):
        return 2 * stages - 1 - s + 2 * j

    timed = []
    for j in range(micro_batches):
        timed.append((forward_slot(stage, j), 3, "forward", j))
        timed.append((backward_slot(stage, j), 3, "backward", j))
        # A message is due when its receiver begins; of those due at once, gradients go first.
        if stage > 0:
            timed.append((forward_slot(stage, j), 2, "recv_forward", j))
            timed.append((backward_slot(stage - 1, j), 0, "send_backward", j))
        if stage < stages - 1:
            timed.append((forward_slot(stage + 1, j), 1, "send_forward", j))
            timed.append((backward_slot(stage, j), 0, "recv_backward", j))
    return [(kind, j) for _, _, kind, j in sorted(timed)]


class _Stage:
    def __init__(self, module, inputs, targets, loss_fn, shapes, rank, size):
        self.module, self.inputs, self.targets = module, inputs, targets
        self.loss_fn, self.shapes, self.rank = loss_fn, shapes, rank
        self.last = rank == size - 1
        self.rows = sum(target.shape[0] for target in targets) if self.last else 0
        self.loss = 0.0
        self.x, self.y, self.gradient = {}, {}, {}

    def recv_forward(self, j):
        self.x[j] = torch.zeros(self.shapes[j], dtype=next(self.module.parameters()).dtype)
        dist.recv(self.x[j], src=self.rank - 1)
        self.x[j].requires_grad = True

    def forward(self, j):
        y = self.module(self.x[j] if self.rank else self.inputs[j])
        if self.last:
            y = self.loss_fn(y, self.targets[j])
            share = self.targets[j].shape[0] / self.rows
            self.loss += share * y.detach()
            self.gradient[j] = torch.full_like(y, share)
        self.y[j] = y

    def send_forward(self, j):
        dist.send(self.y[j].detach().clone(memory_format=torch.contiguous_format), dst=self.rank + 1)

    def recv_backward(self, j):
        y = self.y[j]
        self.gradient[j] = torch.zeros(*y.shape, dtype=y.dtype)
        dist.recv(self.gradient[j], src=self.rank + 1)

    def backward(self, j):
        torch.autograd.backward(self.y[j], self.gradient[j])
        del self.y[j], self.gradient[j]
        if self.rank:
            self.gradient[j] = self.x.pop(j).grad

    def send_backward(self, j):
        dist.send(self.gradient.pop(j).contiguous(), dst=self.rank - 1)


def run_stage(module, actions, inputs, targets, loss_fn, shapes, rank, size):
    stage = _Stage(module, inputs, targets, loss_fn, shapes, rank, size)
    for kind, j in actions:
        getattr(stage, kind)(j)
    return float(stage.loss) if stage.last else None
