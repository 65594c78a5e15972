"""The product of int8 rows as a kernel for a GPU: a tile of exact sums, scaled before it goes to memory."""

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
    """Program (i, j), for one tile: out = left @ right.T * left_scales[:, None] * right_scales.

    left [m, k] and right [n, k] are int8, left_scales [m], right_scales [n] and out [m, n] float32, each one row
    behind the other; `out` is written, the others are read. The tile has the rows from i * BLOCK_M and the columns
    from j * BLOCK_N on, BLOCK_M x BLOCK_N of them or what is left, and i, j go up to where these end. The sums over
    k are exact (k is at most 130,000, as for `int8_matmul`), and are scaled in float32. Blocks are powers of two,
    BLOCK_K is at least 32; k may be less.
    """
    ### BEGIN SOLUTION
    row = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M))[:, None]
    column = (tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N))[None, :]
    sums = tl.zeros((BLOCK_M, BLOCK_N), tl.int32)
    for start in range(0, k, BLOCK_K):
        at = start + tl.arange(0, BLOCK_K)
        across, down = at[None, :], at[:, None]
        a = tl.load(left + row * k + across, mask=(row < m) & (across < k), other=0)
        b = tl.load(right + column * k + down, mask=(column < n) & (down < k), other=0)
        sums += tl.dot(a, b, out_dtype=tl.int32)
    by_row = tl.load(left_scales + row, mask=row < m, other=0.0)
    by_column = tl.load(right_scales + column, mask=column < n, other=0.0)
    tl.store(out + row * n + column, sums * by_row * by_column, mask=(row < m) & (column < n))
    ### END SOLUTION
