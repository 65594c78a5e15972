import torch
import torch.distributed as dist
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm


def _flat(x):
    return x.transpose(0, 1).reshape(x.size(1), -1).t()  # [samples, channels]


def _unflat(x, shape):
    return x.t().reshape(shape[1], shape[0], *shape[2:]).transpose(0, 1)


class sync_batch_norm(Function):
    @staticmethod
    def forward(ctx, input, running_mean, running_std, eps: float, momentum: float):
        x = _flat(input)
        mean = x.mean(0)
        message = torch.stack([mean, ((x - mean) ** 2).sum(0), torch.full_like(mean, len(x))])
        messages = [torch.zeros_like(message) for _ in range(dist.get_world_size())]
        dist.all_gather(messages, message)
        count, mean, m2 = 0, 0, 0
        for other_mean, other_m2, other_count in messages:
            delta = other_mean - mean
            total = count + other_count
            m2 = m2 + other_m2 + delta**2 * count * other_count / total
            mean = mean + delta * other_count / total
            count = total
        n = count[0].item()
        running_mean.copy_((1 - momentum) * running_mean + momentum * mean)
        running_std.copy_((1 - momentum) * running_std + momentum * m2 / (n - 1))
        std = (m2 / n + eps).sqrt()
        x = (x - mean) / std
        ctx.save_for_backward(x, std)
        ctx.n = n
        return _unflat(x, input.shape)

    @staticmethod
    def backward(ctx, grad_output):
        x, std = ctx.saved_tensors
        g = _flat(grad_output)
        message = torch.stack([g.sum(0), (g * x).sum(0)])
        dist.all_reduce(message)
        g = (g - message[0] / ctx.n - x * message[1] / ctx.n) / std
        return _unflat(g, grad_output.shape), None, None, None, None


class SyncBatchNorm(_BatchNorm):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__(
            num_features,
            eps,
            momentum,
            affine=False,
            track_running_stats=True,
            device=None,
            dtype=None,
        )
        del self.running_mean
        self.register_buffer("running_mean", torch.zeros((num_features,)))
        self.register_buffer("running_std", torch.ones((num_features,)))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if self.training:
            return sync_batch_norm.apply(input, self.running_mean, self.running_std, self.eps, self.momentum)
        x = (_flat(input) - self.running_mean) / (self.running_std + self.eps).sqrt()
        return _unflat(x, input.shape)
