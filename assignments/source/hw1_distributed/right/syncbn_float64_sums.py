# replaces: syncbn.py
# method: all_reduce of sums, sums of squares and the count, in float64
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm


def _rows(tensor):
    """[B, C, ...] to [samples, C]"""
    return tensor.movedim(1, -1).reshape(-1, tensor.size(1))


def _like(rows, tensor):
    """and back"""
    moved = tensor.movedim(1, -1).shape
    return rows.reshape(moved).movedim(-1, 1)


class sync_batch_norm(Function):
    @staticmethod
    def forward(ctx, input, running_mean, running_var, eps, momentum):
        x = _rows(input)
        C = x.size(1)
        x64 = x.double()
        sums = torch.cat([x64.sum(0), (x64 * x64).sum(0), x64.new_full((1,), len(x))])
        dist.all_reduce(sums)
        N = sums[-1]
        mean = sums[:C] / N
        var = (sums[C : 2 * C] / N - mean**2).clamp(min=0)
        with torch.no_grad():
            running_mean.copy_((1 - momentum) * running_mean + momentum * mean)
            running_var.copy_((1 - momentum) * running_var + momentum * var * N / (N - 1))
        inverse = 1 / torch.sqrt(var + eps)
        y = ((x64 - mean) * inverse).to(input.dtype)
        ctx.save_for_backward(y, inverse.to(input.dtype), N.to(input.dtype))
        return _like(y, input)

    @staticmethod
    def backward(ctx, grad_output):
        y, inverse, N = ctx.saved_tensors
        g = _rows(grad_output)
        both = torch.cat([g.sum(0), (g * y).sum(0)])
        dist.all_reduce(both, op=dist.ReduceOp.SUM)
        first, second = (both / N).chunk(2)
        return _like(inverse * (g - first - y * second), grad_output), None, None, None, None


class SyncBatchNorm(_BatchNorm):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__(
            num_features, eps, momentum, affine=False, track_running_stats=True, device=None, dtype=None
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return F.batch_norm(input, self.running_mean, self.running_var, training=False, eps=self.eps)
        return sync_batch_norm.apply(input, self.running_mean, self.running_var, self.eps, self.momentum)
