# replaces: int8_kernel.py
# method: products of float16, whose sums are exact for the length of a block; int64 adds the blocks up
import triton
import triton.language as tl


@triton.jit
def codes(pointer, rows, count, at, k):
    inside = (rows[:, None] < count) & (at[None, :] < k)
    return tl.load(pointer + rows[:, None] * k + at[None, :], mask=inside, other=0).to(tl.float16)


@triton.jit
def int8_rows(
    left,
    right,
    left_scales,
    right_scales,
    out,
    m,
    n,
    k,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    at = tl.arange(0, BLOCK_K)
    sums = tl.zeros((BLOCK_M, BLOCK_N), tl.int64)
    while tl.min(at, 0) < k:
        # 128 products of at most 16,129 stay below 2^24, up to which float32 holds every integer.
        some = tl.dot(codes(left, rows, m, at, k), codes(right, columns, n, at, k).T, out_dtype=tl.float32)
        sums += some.to(tl.int64)
        at += BLOCK_K
    scaled = sums.to(tl.float32) * tl.load(left_scales + rows, mask=rows < m, other=0.0)[:, None]
    scaled *= tl.load(right_scales + columns, mask=columns < n, other=0.0)[None, :]
    inside = (rows < m)[:, None] & (columns < n)[None, :]
    tl.store(out + rows[:, None] * n + columns[None, :], scaled, mask=inside)
