# replaces: add_norm.py
# method: goes through a row twice, 128 elements at a time, whatever BLOCK is
import triton
import triton.language as tl


@triton.jit
def add_norm(x, residual, weight, total, out, columns, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0) * columns
    squares = tl.zeros((128,), tl.float32)
    for start in range(0, columns, 128):
        at = start + tl.arange(0, 128)
        a = tl.load(x + row + at, mask=at < columns, other=0.0).to(tl.float32)
        b = tl.load(residual + row + at, mask=at < columns, other=0.0).to(tl.float32)
        squares += (a + b) * (a + b)
        tl.store(total + row + at, a + b, mask=at < columns)
    size = tl.sqrt(tl.sum(squares, 0) / columns + eps)
    for start in range(0, columns, 128):
        at = start + tl.arange(0, 128)
        a = tl.load(x + row + at, mask=at < columns, other=0.0).to(tl.float32)
        b = tl.load(residual + row + at, mask=at < columns, other=0.0).to(tl.float32)
        factor = tl.load(weight + at, mask=at < columns, other=0.0)
        tl.store(out + row + at, (a + b) / size * factor, mask=at < columns)
