# replaces: sharded_adam.py
# method: whole parameters have owners, the largest first to who has least; reduce to the owner, broadcast from it
import torch
import torch.distributed as dist


def adam_update(parameter, gradient, mean, square, *, step, lr, betas, eps):
    mean.lerp_(gradient, 1 - betas[0])
    square.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    spread = (square / (1 - betas[1] ** step)).sqrt_().add_(eps)
    parameter.addcdiv_(mean, spread, value=-lr / (1 - betas[0] ** step))


class ShardedAdam:
    def __init__(self, parameters, rank, size, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.rank, self.size, self.steps = rank, size, 0
        self.rule = {"lr": lr, "betas": betas, "eps": eps}
        load = [0] * size
        self.owner = {}
        for p in sorted(self.parameters, key=lambda p: -p.numel()):
            self.owner[p] = load.index(min(load))
            load[self.owner[p]] += p.numel()
        self.mine = [p for p in self.parameters if self.owner[p] == rank]
        self.state = {p: (torch.zeros_like(p.data), torch.zeros_like(p.data)) for p in self.mine}

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    def _reduce(self, p, gradient):
        """Leave the mean on the owner; elsewhere `gradient` is of no use afterwards."""
        dist.reduce(gradient, dst=self.owner[p])
        return gradient.div_(self.size) if self.owner[p] == self.rank else None

    def _finish(self, gradients, max_norm):
        square = sum(float(g.double().pow(2).sum()) for g in gradients.values())
        norm = torch.tensor(square, dtype=torch.float64)
        dist.all_reduce(norm)
        norm = norm.sqrt().item()
        self.steps += 1
        for p in self.mine:
            gradient = gradients.get(p)
            if gradient is None:
                gradient = torch.zeros_like(p.data)
            elif max_norm is not None and norm > max_norm:
                gradient = gradient.mul_(max_norm / norm)
            adam_update(p.data, gradient, *self.state[p], step=self.steps, **self.rule)
        for p in self.parameters:
            dist.broadcast(p.data, src=self.owner[p])
        return norm

    @torch.no_grad()
    def step(self, max_norm=None):
        gradients = {}
        for p in self.parameters:
            # a copy: `.grad` is the caller's, who may run backward again
            part = self._reduce(p, torch.zeros_like(p) if p.grad is None else p.grad.clone())
            if part is not None:
                gradients[p] = part
        return self._finish(gradients, max_norm)


class ShardedGradientAdam(ShardedAdam):
    def __init__(self, parameters, rank, size, **rule):
        super().__init__(parameters, rank, size, **rule)
        self.sums = {}
        for p in self.parameters:
            p.register_post_accumulate_grad_hook(self._arrived)

    @torch.no_grad()
    def _arrived(self, p):
        gradient, p.grad = p.grad, None
        part = self._reduce(p, gradient)
        if part is not None:
            self.sums[p] = self.sums[p] + part if p in self.sums else part

    def zero_grad(self):
        super().zero_grad()
        self.sums = {}

    @torch.no_grad()
    def step(self, max_norm=None):
        norm = self._finish(self.sums, max_norm)
        self.zero_grad()
        return norm
