# replaces: sharded_adam.py
# method: the exchange of one parameter runs while the next is at work: async_op, one under way at a time
from dataclasses import dataclass

import torch
import torch.distributed as dist


def adam_update(parameter, gradient, mean, square, *, step, lr, betas, eps):
    mean.lerp_(gradient, 1 - betas[0])
    square.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    spread = (square / (1 - betas[1] ** step)).sqrt_().add_(eps)
    parameter.addcdiv_(mean, spread, value=-lr / (1 - betas[0] ** step))


@dataclass
class Shard:
    """What one rank knows of one parameter."""

    parameter: torch.nn.Parameter
    mean: torch.Tensor
    square: torch.Tensor
    gradient: torch.Tensor | None = None

    def add(self, gradient):
        self.gradient = gradient if self.gradient is None else self.gradient + gradient


class ShardedAdam:
    def __init__(self, parameters, rank, size, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.rank, self.size, self.steps = rank, size, 0
        self.rule = {"lr": lr, "betas": betas, "eps": eps}
        self.shards = []
        for p in self.parameters:
            zeros = torch.zeros(-(-p.numel() // size), dtype=p.dtype)
            self.shards.append(Shard(p, zeros, zeros.clone()))
        self.under_way = None

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    def _flat(self, tensor):
        flat = torch.zeros(-(-tensor.numel() // self.size) * self.size, dtype=tensor.dtype)
        flat[: tensor.numel()] = tensor.flatten()
        return flat

    def _arrive(self):
        if self.under_way is not None:
            work, shard, _, received = self.under_way
            self.under_way = None
            work.wait()
            shard.add(received.view(self.size, -1).mean(dim=0))

    def _start(self, shard):
        self._arrive()
        outgoing = self._flat(shard.parameter.grad)
        received = torch.empty_like(outgoing)
        work = dist.all_to_all_single(received, outgoing, async_op=True)
        self.under_way = work, shard, outgoing, received

    def _apply(self, max_norm):
        gradients = [torch.zeros_like(s.mean) if s.gradient is None else s.gradient for s in self.shards]
        total = (
            torch.stack([torch.linalg.vector_norm(g, dtype=torch.float64) for g in gradients]).square().sum()
        )
        dist.all_reduce(total)
        norm = total.sqrt().item()
        if max_norm is not None and norm > max_norm:
            gradients = [g.mul_(max_norm / norm) for g in gradients]
        self.steps += 1
        before = None
        for shard, gradient in zip(self.shards, gradients, strict=True):
            own = self._flat(shard.parameter).view(self.size, -1)[self.rank].clone()
            adam_update(own, gradient, shard.mean, shard.square, step=self.steps, **self.rule)
            whole = own.new_empty(self.size * len(own))
            work = dist.all_gather_into_tensor(whole, own, async_op=True)
            if before is not None:
                self._put(*before)
            before = shard.parameter, whole, work
            shard.gradient = None
        self._put(*before)
        return norm

    def _put(self, parameter, whole, work):
        work.wait()
        parameter.copy_(whole[: parameter.numel()].view_as(parameter))

    @torch.no_grad()
    def step(self, max_norm=None):
        for shard in self.shards:
            if shard.parameter.grad is not None:
                self._start(shard)
        self._arrive()
        return self._apply(max_norm)


class ShardedGradientAdam(ShardedAdam):
    def __init__(self, parameters, rank, size, **rule):
        super().__init__(parameters, rank, size, **rule)
        for shard in self.shards:
            shard.parameter.register_post_accumulate_grad_hook(self._hook(shard))

    def _hook(self, shard):
        @torch.no_grad()
        def complete(parameter):
            self._start(shard)
            parameter.grad = None

        return complete

    def zero_grad(self):
        super().zero_grad()
        self._arrive()
        for shard in self.shards:
            shard.gradient = None

    @torch.no_grad()
    def step(self, max_norm=None):
        self._arrive()
        norm = self._apply(max_norm)
        self.zero_grad()
        return norm
