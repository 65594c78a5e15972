import torch
import torch.distributed as dist
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm


class sync_batch_norm(Function):
    """
    A version of batch normalization that aggregates the activation statistics across all processes.
    """

    @staticmethod
    def forward(ctx, input, running_mean, running_std, eps: float, momentum: float):
        dims = [0, *range(2, input.dim())]
        shape = [1, -1] + [1] * (input.dim() - 2)
        x = input.double()
        count = torch.tensor([input.numel() // input.size(1)], dtype=torch.float64, device=input.device)
        stats = torch.cat([x.sum(dims), (x * x).sum(dims), count])
        dist.all_reduce(stats, op=dist.ReduceOp.SUM)
        n = stats[-1]
        mean, sqr_mean = (stats[:-1] / n).chunk(2)
        var = sqr_mean - mean**2

        running_mean.mul_(1 - momentum).add_(momentum * mean)
        running_std.mul_(1 - momentum).add_(momentum * torch.sqrt(var))

        inv_std = 1 / torch.sqrt(var + eps)
        normalized = ((x - mean.view(shape)) * inv_std.view(shape)).to(input.dtype)
        ctx.save_for_backward(normalized, inv_std, n)
        return normalized

    @staticmethod
    def backward(ctx, grad_output):
        normalized, inv_std, n = ctx.saved_tensors
        dims = [0, *range(2, grad_output.dim())]
        shape = [1, -1] + [1] * (grad_output.dim() - 2)
        sums = torch.cat([grad_output.sum(dims), (grad_output * normalized).sum(dims)]).double()
        dist.all_reduce(sums, op=dist.ReduceOp.SUM)
        sum_grad, sum_grad_x = sums.chunk(2)
        grad_input = grad_output - (sum_grad / n).view(shape) - normalized * (sum_grad_x / n).view(shape)
        return (grad_input * inv_std.view(shape)).to(grad_output.dtype), None, None, None, None


class SyncBatchNorm(_BatchNorm):
    """
    Applies Batch Normalization to the input (over the 0 axis), aggregating the activation statistics
    across all processes.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__(
            num_features, eps, momentum, affine=False, track_running_stats=True, device=None, dtype=None
        )
        self.running_mean = torch.zeros((num_features,))
        self.running_std = torch.ones((num_features,))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training:
            shape = [1, -1] + [1] * (input.dim() - 2)
            return (input - self.running_mean.view(shape)) / (self.running_std.view(shape) + self.eps)
        return sync_batch_norm.apply(input, self.running_mean, self.running_std, self.eps, self.momentum)
