"""A linear layer on integers of eight bits: a scale for each row, and sums that lose nothing."""

import torch


def quantize_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return codes [n, k], int8, and scales [n], float32, of `rows` [n, k], float32.

    The scale of a row is its largest magnitude divided by 127, and 1 where the row is all zeros. A code is the
    number divided by the scale, rounded to the nearest integer, a half to the even one: -127 to 127.
    """
    ### BEGIN SOLUTION
    scales = rows.abs().amax(1) / 127
    scales = torch.where(scales > 0, scales, 1.0)
    return (rows / scales[:, None]).round().to(torch.int8), scales
    ### END SOLUTION


def int8_matmul(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return left @ right.T [m, n], int32 and exact, of codes [m, k] and [n, k], int8.

    k is at most 130,000: below that no sum of products of codes leaves int32.
    """
    ### BEGIN SOLUTION
    # float64 holds all integers up to 2^53, and a library multiplies it fast.
    return (left.double() @ right.double().T).to(torch.int32)
    ### END SOLUTION


def int8_linear(
    inputs: torch.Tensor, codes: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return inputs @ weight.T + bias [..., n], float32, where `codes` [n, k] and `scales` [n] are the weight's.

    `inputs` [..., k], float32, of any layout, are quantised row by row (*dynamically*), multiplied as integers, and
    scaled back: sum times scale of the input's row times scale of the weight's row. The bias stays float32.
    """
    ### BEGIN SOLUTION
    rows, row_scales = quantize_rows(inputs.reshape(-1, inputs.shape[-1]))
    outputs = int8_matmul(rows, codes).float() * row_scales[:, None] * scales
    if bias is not None:
        outputs = outputs + bias
    return outputs.reshape(*inputs.shape[:-1], len(codes))
    ### END SOLUTION
