# replaces: syncbn.py
# caught by: syncbn_survives_a_large_mean
# mistake: variance as E[x^2] - E[x]^2 in float32
import torch
import torch.distributed as dist
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm


def wide(vector, like):
    return vector.view(1, -1, *[1] * (like.dim() - 2))


class sync_batch_norm(Function):
    @staticmethod
    def forward(ctx, input, running_mean, running_var, eps, momentum):
        axes = [axis for axis in range(input.dim()) if axis != 1]
        count = input.new_tensor([input.numel() // input.size(1)])
        sums = torch.cat([input.sum(axes), (input**2).sum(axes), count])
        dist.all_reduce(sums)
        total = sums[-1:]
        mean, square = (sums[:-1] / total).chunk(2)
        var = square - mean**2
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((var * total / (total - 1)).to(running_var.dtype), momentum)
        scale = torch.rsqrt(var + eps)
        output = (input - wide(mean, input)) * wide(scale, input)
        ctx.save_for_backward(output, scale, total)
        return output

    @staticmethod
    def backward(ctx, grad_output):
        output, scale, total = ctx.saved_tensors
        axes = [axis for axis in range(grad_output.dim()) if axis != 1]
        sums = torch.cat([grad_output.sum(axes), (grad_output * output).sum(axes)])
        dist.all_reduce(sums)
        mean_grad, mean_product = (wide(part, grad_output) for part in (sums / total).chunk(2))
        grad_input = (grad_output - mean_grad - output * mean_product) * wide(scale, grad_output)
        return grad_input, None, None, None, None


class SyncBatchNorm(_BatchNorm):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__(num_features, eps, momentum, affine=False, track_running_stats=True)

    def forward(self, input):
        if self.training:
            return sync_batch_norm.apply(input, self.running_mean, self.running_var, self.eps, self.momentum)
        scale = torch.rsqrt(self.running_var + self.eps)
        return (input - wide(self.running_mean, input)) * wide(scale, input)
