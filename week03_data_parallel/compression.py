"""Gradient compression with error feedback: top-k, one bit, PowerSGD. Each replaces a bucket's all-reduce.

What a step does not send is not lost: it is added to the gradient of the next step (error feedback, Seide et al.
2014; why it converges: Karimireddy et al. 2019).
"""

import torch
import torch.distributed as dist

from week03_data_parallel.data_parallel import Bucket


class Dense:
    """No compression: the mean by all-reduce."""

    def __call__(self, bucket: Bucket) -> None:
        """Replace the bucket's gradients by their mean over the ranks."""
        self.all_reduce(bucket.flat)

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """Mean of `tensor` over the ranks, in place."""
        dist.all_reduce(tensor)
        return tensor.div_(dist.get_world_size())

    def all_gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """`tensor` of every rank; around a ring each rank sends n - 1 of them."""
        gathered = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, tensor)
        return gathered


class Feedback(Dense):
    """Keeps what was not sent. A subclass says in `mean_of` what is sent of a gradient."""

    def __init__(self, feedback: bool = True):
        self.feedback = feedback
        self._left: dict[Bucket, torch.Tensor] = {}

    def __call__(self, bucket: Bucket) -> None:
        """Replace the bucket's gradients by the mean of what the ranks sent of them."""
        wanted = bucket.flat + self._left[bucket] if bucket in self._left else bucket.flat.clone()
        mean, mine = self.mean_of(bucket, wanted)
        if self.feedback:
            self._left[bucket] = wanted - mine
        bucket.flat.copy_(mean)

    def mean_of(self, bucket: Bucket, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean over the ranks of what they send of `wanted`, and what this rank sent."""
        raise NotImplementedError


class TopK(Feedback):
    """Send the `share` of the elements with the largest absolute values, as (index, value) pairs of 8 bytes."""

    def __init__(self, share: float, feedback: bool = True):
        super().__init__(feedback)
        self.share = share

    def mean_of(self, bucket, wanted):
        """See `Feedback`."""
        k = max(1, round(self.share * wanted.numel()))
        indices = wanted.abs().topk(k).indices
        values = wanted[indices]
        mine = torch.zeros_like(wanted).index_add_(0, indices, values)
        mean = torch.zeros_like(wanted)
        # One message: the bits of the values behind the indices.
        for theirs in self.all_gather(torch.cat([indices.int(), values.view(torch.int32)])):
            where, value = theirs.chunk(2)
            mean.index_add_(0, where.long(), value.view(torch.float32))
        return mean / dist.get_world_size(), mine


class MomentumTopK(TopK):
    """Top-k of a velocity: each rank applies momentum *before* it chooses, and the optimizer is plain SGD.

    An element that waits would otherwise lose the momentum of the steps that it waited. What was sent starts again
    without velocity. Lin et al., Deep gradient compression, ICLR 2018 (momentum correction, factor masking).
    """

    def __init__(self, share: float, decay: float = 0.9):
        super().__init__(share)
        self.decay = decay
        self._velocity: dict[Bucket, torch.Tensor] = {}

    def __call__(self, bucket: Bucket) -> None:
        """See `Feedback`."""
        velocity = self._velocity.setdefault(bucket, torch.zeros_like(bucket.flat))
        bucket.flat.copy_(velocity.mul_(self.decay).add_(bucket.flat))
        super().__call__(bucket)

    def mean_of(self, bucket, wanted):
        """See `Feedback`."""
        mean, mine = super().mean_of(bucket, wanted)
        self._velocity[bucket][mine != 0] = 0
        return mean, mine


class OneBit(Feedback):
    """Send the sign of each element, and the mean of the positive and of the negative ones of each parameter.

    Seide et al., 1-bit stochastic gradient descent and its application to data-parallel distributed training of
    speech DNNs, Interspeech 2014; there the two means are those of a column.
    """

    def mean_of(self, bucket, wanted):
        """See `Feedback`."""
        sizes = torch.tensor([p.numel() for p in bucket.parameters])
        owner = torch.arange(len(sizes)).repeat_interleave(sizes)
        positive = wanted >= 0
        group = 2 * owner + positive  # every parameter has two levels
        counts = torch.bincount(group, minlength=2 * len(sizes)).clamp(min=1)
        levels = torch.zeros(2 * len(sizes)).index_add_(0, group, wanted) / counts
        mean = torch.zeros_like(wanted)
        for message in self.all_gather(torch.cat([pack_bits(positive), levels.view(torch.uint8)])):
            bits, theirs = message.tensor_split([message.numel() - levels.nbytes])
            mean += theirs.clone().view(torch.float32)[2 * owner + unpack_bits(bits, wanted.numel())]
        return mean / dist.get_world_size(), levels[group]


class PowerSGD(Feedback):
    """Send each weight matrix as a product of two thin ones, found by one step of power iteration.

    Thin matrices add up, so that they travel by all-reduce: one for the left factors and the vectors (biases, which
    go uncompressed), one for the right factors. Vogels, Karimireddy & Jaggi, PowerSGD: practical low-rank gradient
    compression for distributed optimization, NeurIPS 2019.
    """

    def __init__(self, rank: int, feedback: bool = True):
        super().__init__(feedback)
        self.rank = rank
        self._right: dict[torch.nn.Parameter, torch.Tensor] = {}

    def mean_of(self, bucket, wanted):
        """See `Feedback`."""
        mean, mine = torch.empty_like(wanted), wanted.clone()
        sizes = [p.numel() for p in bucket.parameters]
        pieces = list(zip(bucket.parameters, *(t.split(sizes) for t in (wanted, mean, mine)), strict=True))
        matrices = [(p, w.view(len(p), -1), m, own) for p, w, m, own in pieces if p.dim() > 1]
        vectors = [(w, m) for p, w, m, _ in pieces if p.dim() < 2]
        lefts = [matrix @ self._right.get(p, self._start(matrix)) for p, matrix, _, _ in matrices]
        sums = self.all_reduce_together([*lefts, *(w for w, _ in vectors)])
        for (_, m), vector in zip(vectors, sums[len(lefts) :], strict=True):
            m.copy_(vector)
        lefts = [torch.linalg.qr(left).Q for left in sums[: len(lefts)]]
        rights = [matrix.T @ left for (_, matrix, _, _), left in zip(matrices, lefts, strict=True)]
        averaged = self.all_reduce_together(rights)
        for (p, _, m, own), left, right, common in zip(matrices, lefts, rights, averaged, strict=True):
            own.copy_((left @ right.T).view(-1))
            m.copy_((left @ common.T).view(-1))
            self._right[p] = common
        return mean, mine

    def _start(self, matrix: torch.Tensor) -> torch.Tensor:
        """The first right factor, the same on every rank."""
        return torch.randn(matrix.size(1), self.rank, generator=torch.Generator().manual_seed(0))

    def all_reduce_together(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """Means of several tensors over the ranks, in one message."""
        flat = self.all_reduce(torch.cat([tensor.reshape(-1) for tensor in tensors]))
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


def pack_bits(bits: torch.Tensor) -> torch.Tensor:
    """[n] bool to [ceil(n / 8)] uint8, the first bit of a byte being its lowest."""
    padded = torch.zeros(-(-bits.numel() // 8) * 8, dtype=torch.uint8)
    padded[: bits.numel()] = bits
    return (padded.view(-1, 8) << torch.arange(8, dtype=torch.uint8)).sum(1, dtype=torch.uint8)


def unpack_bits(packed: torch.Tensor, length: int) -> torch.Tensor:
    """The inverse of `pack_bits`: [length] bool."""
    bits = packed.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8) & 1
    return bits.view(-1)[:length].bool()
