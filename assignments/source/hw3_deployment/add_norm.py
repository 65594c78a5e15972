"""A kernel of an engine: it adds what a layer has computed to what went past the layer, and normalises the sum."""

import triton
import triton.language as tl


@triton.jit
def add_norm(x, residual, weight, total, out, columns, eps, BLOCK: tl.constexpr):
    """Program i, for row i: total = x + residual, out = total / sqrt(mean(total**2) + eps) * weight.

    x, residual, total and out are float16 [rows, columns], one row behind the other, weight is float32 [columns].
    `x`, `residual` and `weight` are read, `total` and `out` written. All is computed in float32, and stored as
    float16 (Zhang and Sennrich 2019). BLOCK is the smallest power of two that is not below `columns`.
    """
    ### BEGIN SOLUTION
    at = tl.arange(0, BLOCK)
    inside = at < columns
    here = tl.program_id(0) * columns + at
    summed = tl.load(x + here, mask=inside, other=0.0).to(tl.float32)
    summed += tl.load(residual + here, mask=inside, other=0.0).to(tl.float32)
    square = tl.sum(summed * summed, 0) / columns
    scale = 1 / tl.sqrt(square + eps)
    tl.store(total + here, summed, mask=inside)
    factor = tl.load(weight + at, mask=inside, other=0.0)
    tl.store(out + here, summed * scale * factor, mask=inside)
    ### END SOLUTION
