# replaces: add_norm.py
# method: blocks of two dimensions, a function of its own for the mean, and the reciprocal root of the language
import triton
import triton.language as tl


@triton.jit
def mean_square(values, columns):
    return tl.sum(values * values, 1, keep_dims=True) / columns


@triton.jit
def add_norm(x, residual, weight, total, out, columns, eps, BLOCK: tl.constexpr):
    places = tl.arange(0, BLOCK)[None, :]
    row = tl.program_id(0) + tl.zeros((1, 1), tl.int32)
    mask = places < columns
    values = tl.load(residual + row * columns + places, mask, 0.0).to(tl.float32)
    values = values + tl.load(x + row * columns + places, mask, 0.0)
    tl.store(total + row * columns + places, values.to(tl.float16), mask)
    normed = values * tl.rsqrt(mean_square(values, columns) + eps) * tl.load(weight + places, mask, 0.0)
    tl.store(out + row * columns + places, normed.to(tl.float16), mask)
