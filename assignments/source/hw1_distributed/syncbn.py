"""Batch normalisation whose statistics cover the batches of all processes."""

import torch
import torch.distributed as dist
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm


class sync_batch_norm(Function):
    """Normalise over the samples of all ranks; differentiable with respect to `input`."""

    @staticmethod
    def forward(ctx, input, running_mean, running_var, eps: float, momentum: float):
        """Return the normalised input and update both running statistics in place, with one collective.

        `input` is [B, C], [B, C, L] or [B, C, H, W], floating point; B may differ between ranks.
        `running_mean` and `running_var` are [C]; the variance among them is the unbiased one, as in PyTorch.
        """
        ### BEGIN SOLUTION
        count = input.numel() // input.size(1)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        wide = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        variance, mean = torch.var_mean(wide, dim=axes, correction=0)
        # Mean and variance of each rank, not sums of x and x^2: those cancel where the mean is large.
        local = torch.cat([mean, variance, mean.new_tensor([count])])
        gathered = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, local)
        means, variances, counts = torch.stack(gathered).split([mean.numel(), mean.numel(), 1], dim=1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (counts * (variances + (means - mean) ** 2)).sum(0) / total
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((variance * total / (total - 1)).to(running_var.dtype), momentum)

        scale = torch.rsqrt(variance + eps)
        normalised = ((wide - _wide(mean, input)) * _wide(scale, input)).to(input.dtype)
        ctx.save_for_backward(normalised, scale, total)
        return normalised
        ### END SOLUTION

    @staticmethod
    def backward(ctx, grad_output):
        """Return the gradient of `input` and None for the other four arguments, with one collective."""
        ### BEGIN SOLUTION
        normalised, scale, total = ctx.saved_tensors
        axes = [axis for axis in range(grad_output.dim()) if axis != 1]
        wide, product = grad_output.to(scale.dtype), (grad_output * normalised).to(scale.dtype)
        sums = torch.cat([wide.sum(axes), product.sum(axes)])
        dist.all_reduce(sums)
        mean_grad, mean_product = (_wide(part, grad_output) for part in (sums / total).chunk(2))
        grad_input = (wide - mean_grad - normalised * mean_product) * _wide(scale, grad_output)
        return grad_input.to(grad_output.dtype), None, None, None, None
        ### END SOLUTION


### BEGIN SOLUTION
def _wide(per_channel: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return the [C] vector with as many dimensions as `like`, the channels second."""
    return per_channel.view(1, -1, *[1] * (like.dim() - 2))


### END SOLUTION


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation over the batches of all ranks, without scale and shift (Ioffe & Szegedy 2015).

    Applies to [B, C], [B, C, L] and [B, C, H, W]. In training mode it normalises with the statistics of the
    global batch and updates `running_mean` and `running_var` (buffers of `_BatchNorm`, unbiased variance); in
    evaluation mode it normalises with these two and communicates nothing.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__(
            num_features, eps, momentum, affine=False, track_running_stats=True, device=None, dtype=None
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the normalised input: same shape, dtype and device."""
        ### BEGIN SOLUTION
        if self.training:
            self.num_batches_tracked += 1
            return sync_batch_norm.apply(input, self.running_mean, self.running_var, self.eps, self.momentum)
        scale = torch.rsqrt(self.running_var + self.eps)
        return (input - _wide(self.running_mean, input)) * _wide(scale, input)
        ### END SOLUTION
