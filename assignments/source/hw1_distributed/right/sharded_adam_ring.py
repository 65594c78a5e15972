# replaces: sharded_adam.py
# method: part 2's ring with isend and recv, equal padded parts; in stage 2 a dictionary of parts that exist
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
        self.state = {}
        for p in self.parameters:
            length = (p.numel() + size - 1) // size
            self.state[p] = p.new_zeros(length).detach(), p.new_zeros(length).detach()

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    def padded(self, tensor):
        """A copy as [size, length]."""
        return torch.nn.functional.pad(tensor.reshape(-1), (0, -tensor.numel() % self.size)).view(
            self.size, -1
        )

    def shift(self, out):
        request = dist.isend(out, (self.rank + 1) % self.size)
        arrived = torch.empty_like(out)
        dist.recv(arrived, (self.rank - 1) % self.size)
        request.wait()
        return arrived

    def reduce_scatter(self, gradient):
        rows = self.padded(gradient)
        travelling = rows[(self.rank - 1) % self.size].clone()
        for i in range(2, self.size + 1):
            travelling = self.shift(travelling) + rows[(self.rank - i) % self.size]
        return travelling / self.size  # row `rank`

    def all_gather(self, part, p):
        rows = part.new_empty(self.size, len(part))
        rows[self.rank] = part
        for i in range(1, self.size):
            part = self.shift(part)
            rows[(self.rank - i) % self.size] = part
        p.copy_(rows.view(-1)[: p.numel()].view(p.shape))

    def update(self, parts, max_norm):
        square = torch.zeros(1, dtype=torch.float64)
        for part in parts.values():
            square += part.double().dot(part.double())
        dist.all_reduce(square)
        norm = float(square) ** 0.5
        factor = min(1.0, max_norm / norm) if max_norm is not None and norm > 0 else 1.0
        self.steps += 1
        for p in self.parameters:
            mean, second = self.state[p]
            gradient = parts[p] * factor if p in parts else torch.zeros_like(mean)
            own = self.padded(p)[self.rank].clone()
            adam_update(own, gradient, mean, second, step=self.steps, **self.rule)
            self.all_gather(own, p)
        return norm

    @torch.no_grad()
    def step(self, max_norm=None):
        parts = {}
        for p in self.parameters:
            parts[p] = self.reduce_scatter(p.grad if p.grad is not None else torch.zeros_like(p))
        return self.update(parts, max_norm)


class ShardedGradientAdam(ShardedAdam):
    def __init__(self, parameters, rank, size, **rule):
        super().__init__(parameters, rank, size, **rule)
        self.parts = {}
        for p in self.parameters:
            p.register_post_accumulate_grad_hook(self.hook)

    @torch.no_grad()
    def hook(self, p):
        part = self.reduce_scatter(p.grad)
        if p in self.parts:
            part += self.parts[p]
        self.parts[p] = part
        p.grad = None

    def zero_grad(self):
        super().zero_grad()
        self.parts.clear()

    @torch.no_grad()
    def step(self, max_norm=None):
        norm = self.update(self.parts, max_norm)
        self.zero_grad()
        return norm
