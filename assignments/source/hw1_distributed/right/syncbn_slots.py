# replaces: syncbn.py
# method: all_reduce of a table with a row per rank, where each fills its own; input saved and not the output
import torch
import torch.distributed as dist
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm


def share(row):
    """Return the rows of all ranks, [size, len(row)]."""
    table = row.new_zeros(dist.get_world_size(), len(row))
    table[dist.get_rank()] = row
    dist.all_reduce(table)
    return table


def per_channel(value, like):
    return value.reshape(1, -1, *[1] * (like.ndim - 2))


class sync_batch_norm(Function):
    @staticmethod
    def forward(ctx, input, running_mean, running_var, eps, momentum):
        dims = [0, *range(2, input.ndim)]
        count = input.numel() // input.shape[1]
        var, mean = torch.var_mean(input, dim=dims, correction=0)
        table = share(torch.cat([mean, var, mean.new_full((1,), count)]))
        means, variances = table[:, :-1].unflatten(1, (2, -1)).unbind(1)
        counts = table[:, -1:]
        share_of = counts / counts.sum()
        mean = (share_of * means).sum(0)
        var = (share_of * (variances + (means - mean) ** 2)).sum(0)
        total = counts.sum()
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * total / (total - 1), momentum)
        scale = (var + eps).rsqrt()
        ctx.save_for_backward(input, mean, scale, total)
        return (input - per_channel(mean, input)) * per_channel(scale, input)

    @staticmethod
    def backward(ctx, grad_output):
        input, mean, scale, total = ctx.saved_tensors
        y = (input - per_channel(mean, input)) * per_channel(scale, input)
        dims = [0, *range(2, input.ndim)]
        table = share(torch.cat([grad_output.sum(dims), (grad_output * y).sum(dims)]))
        g, gy = (per_channel(part, input) for part in (table.sum(0) / total).chunk(2))
        return per_channel(scale, input) * (grad_output - g - y * gy), None, None, None, None


class SyncBatchNorm(_BatchNorm):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__(
            num_features, eps, momentum, affine=False, track_running_stats=True, device=None, dtype=None
        )

    def forward(self, input):
        if self.training:
            self.num_batches_tracked += 1
            return sync_batch_norm.apply(input, self.running_mean, self.running_var, self.eps, self.momentum)
        scale = torch.rsqrt(self.running_var + self.eps)
        return (input - per_channel(self.running_mean, input)) * per_channel(scale, input)
