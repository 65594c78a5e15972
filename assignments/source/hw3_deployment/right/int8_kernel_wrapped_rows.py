# replaces: int8_kernel.py
# method: rows beyond the end are those from the beginning, as in Triton's tutorial; pointers that walk; helpers
import triton
import triton.language as tl


@triton.jit
def places(number, BLOCK: tl.constexpr):
    return tl.program_id(number) * BLOCK + tl.arange(0, BLOCK)


@triton.jit
def scaled(sums, rows, columns):
    return sums.to(tl.float32) * (rows[:, None] * columns[None, :])


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
    rows, columns, inner = places(0, BLOCK_M), places(1, BLOCK_N), tl.arange(0, BLOCK_K)
    a_at = left + (rows % m)[:, None] * k + inner[None, :]
    b_at = right + (columns % n)[:, None] * k + inner[None, :]
    sums = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.int32)
    for block in range(tl.cdiv(k, BLOCK_K)):
        a = tl.load(a_at, mask=inner[None, :] < k - block * BLOCK_K, other=0)
        b = tl.load(b_at, mask=inner[None, :] < k - block * BLOCK_K, other=0)
        sums = tl.dot(a, tl.trans(b), sums, out_dtype=tl.int32)
        a_at += BLOCK_K
        b_at += BLOCK_K
    result = scaled(sums, tl.load(left_scales + rows % m), tl.load(right_scales + columns % n))
    here = out + rows[:, None] * n + columns[None, :]
    tl.store(here, result, mask=(rows[:, None] < m) & (columns[None, :] < n))
