# replaces: syncbn.py
# method: all_gather_into_tensor, merged one rank after the other (Chan); all_to_all_single in backward
import torch
import torch.distributed as dist
from torch.autograd import Function
from torch.nn.modules.batchnorm import _BatchNorm


class sync_batch_norm(Function):
    @staticmethod
    def forward(ctx, input, running_mean, running_var, eps, momentum):
        channels = input.shape[1]
        x = input.transpose(0, 1).reshape(channels, -1)
        local_mean = x.mean(dim=1)
        local_m2 = ((x - local_mean[:, None]) ** 2).sum(dim=1)
        message = torch.cat([local_mean, local_m2, x.new_tensor([x.shape[1]])])
        messages = message.new_empty(dist.get_world_size() * len(message))
        dist.all_gather_into_tensor(messages, message)

        mean, m2, count = torch.zeros_like(local_mean), torch.zeros_like(local_m2), 0
        for other in messages.view(-1, len(message)):
            other_mean, other_m2, n = other[:channels], other[channels : 2 * channels], int(other[-1])
            delta = other_mean - mean
            m2 = m2 + other_m2 + delta**2 * (count * n / (count + n))
            mean = mean + delta * (n / (count + n))
            count += n

        running_mean.mul_(1 - momentum).add_(momentum * mean)
        running_var.mul_(1 - momentum).add_(momentum * m2 / (count - 1))
        std = torch.sqrt(m2 / count + eps)
        shape = [1, channels] + [1] * (input.dim() - 2)
        output = (input - mean.view(shape)) / std.view(shape)
        ctx.save_for_backward(output, std)
        ctx.count = count
        return output

    @staticmethod
    def backward(ctx, grad_output):
        output, std = ctx.saved_tensors
        dims = [d for d in range(output.dim()) if d != 1]
        shape = [1, -1] + [1] * (output.dim() - 2)
        sums = torch.stack([grad_output.sum(dims), (grad_output * output).sum(dims)])
        outgoing = torch.stack([sums] * dist.get_world_size())  # the same for everybody
        incoming = torch.empty_like(outgoing)
        dist.all_to_all_single(incoming, outgoing)
        g_mean, gy_mean = incoming.sum(0) / ctx.count
        grad = (grad_output - g_mean.view(shape) - output * gy_mean.view(shape)) / std.view(shape)
        return grad, None, None, None, None


class SyncBatchNorm(_BatchNorm):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__(num_features, eps, momentum, affine=False, track_running_stats=True)

    def forward(self, input):
        if self.training:
            return sync_batch_norm.apply(input, self.running_mean, self.running_var, self.eps, self.momentum)
        shape = [1, -1] + [1] * (input.dim() - 2)
        return (input - self.running_mean.view(shape)) / torch.sqrt(self.running_var.view(shape) + self.eps)
