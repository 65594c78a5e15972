# replaces: sharded_adam.py
# method: uneven parts by all_to_all_single with split sizes; broadcast of each part; stage 2 adds in its hooks
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
        self.means, self.squares = [], []
        for p in self.parameters:
            part = self._parts(p.detach())[rank]
            self.means.append(torch.zeros_like(part))
            self.squares.append(torch.zeros_like(part))

    def _parts(self, tensor):
        return tensor.view(-1).tensor_split(self.size)

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    def _mean_part(self, gradient):
        """Reduce-scatter: this rank's part of the mean over the ranks."""
        gradient = gradient.contiguous()
        lengths = [len(part) for part in self._parts(gradient)]
        mine = lengths[self.rank]
        received = gradient.new_empty(mine * self.size)
        dist.all_to_all_single(received, gradient.view(-1), [mine] * self.size, lengths)
        return received.view(self.size, mine).mean(dim=0)

    def _update(self, parts, max_norm):
        norm = sum((part.double().square().sum() for part in parts), torch.zeros((), dtype=torch.float64))
        dist.all_reduce(norm)
        norm = norm.sqrt().item()
        self.steps += 1
        for p, part, mean, square in zip(self.parameters, parts, self.means, self.squares, strict=True):
            if max_norm is not None and norm > max_norm:
                part = part * (max_norm / norm)
            own = self._parts(p.detach())
            adam_update(own[self.rank], part, mean, square, step=self.steps, **self.rule)
            for r in range(self.size):
                if len(own[r]):
                    dist.broadcast(own[r], src=r)
        return norm

    @torch.no_grad()
    def step(self, max_norm=None):
        parts = []
        for p in self.parameters:
            parts.append(self._mean_part(torch.zeros_like(p) if p.grad is None else p.grad))
        return self._update(parts, max_norm)


class ShardedGradientAdam(ShardedAdam):
    def __init__(self, parameters, rank, size, **rule):
        super().__init__(parameters, rank, size, **rule)
        self.zero_grad()
        for i, p in enumerate(self.parameters):
            p.register_post_accumulate_grad_hook(lambda p, i=i: self._collect(i, p))

    @torch.no_grad()
    def _collect(self, i, p):
        self.collected[i] += self._mean_part(p.grad)
        p.grad = None

    def zero_grad(self):
        super().zero_grad()
        self.collected = [torch.zeros_like(mean) for mean in self.means]

    @torch.no_grad()
    def step(self, max_norm=None):
        norm = self._update(self.collected, max_norm)
        self.zero_grad()
        return norm
