# replaces: int8_kernel.py
# method: multiplies by broadcasting in int32 and sums 16 products at a time, whatever BLOCK_K is
import triton
import triton.language as tl


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
    sums = tl.full((BLOCK_M, BLOCK_N), 0, tl.int32)
    for start in range(0, k, 16):
        at = (start + tl.arange(0, 16))[None, :]
        a = tl.load(left + rows[:, None] * k + at, (rows[:, None] < m) & (at < k), 0).to(tl.int32)
        b = tl.load(right + columns[:, None] * k + at, (columns[:, None] < n) & (at < k), 0).to(tl.int32)
        sums += tl.sum(a[:, None, :] * b[None, :, :], 2)
    inside = (rows[:, None] < m) & (columns[None, :] < n)
    by_row = tl.load(left_scales + rows, rows < m, 1.0)
    by_column = tl.load(right_scales + columns, columns < n, 1.0)
    tl.store(out + rows[:, None] * n + columns[None, :], sums * by_row[:, None] * by_column[None, :], inside)
