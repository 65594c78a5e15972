# replaces: syncbn.py
# caught by: syncbn_communicates_once
# mistake: a second collective from a thread, where the count in the process misses it
# needs: namespaces, without which nobody counts what the ranks send
import threading

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
        var, mean = torch.var_mean(input, axes, correction=0)
        local = torch.cat([mean, var, mean.new_tensor([input.numel() // input.size(1)])])
        ranks = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(ranks, local)
        thread = threading.Thread(target=dist.all_reduce, args=(local.clone(),))
        thread.start()
        thread.join()
        means, variances, counts = torch.stack(ranks).split([len(mean), len(mean), 1], dim=1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        var = (counts * (variances + (means - mean) ** 2)).sum(0) / total
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
