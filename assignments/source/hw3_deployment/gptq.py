"""GPTQ: the weights of a linear layer on a grid of few bits, so that its outputs change little."""

import torch


def gptq(
    weight: torch.Tensor, inputs: torch.Tensor, bits: int, group: int, damping: float = 0.01
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return codes [n, k], int8, and scales [n, k / group], float32, for the layer y = x @ weight.T.

    `weight` is [n, k] and `inputs` [samples, k], both float32. The weight becomes codes times scale, with one scale,
    above 0, for each row and each `group` columns that stand side by side; `group` divides k. Codes lie between
    -(2^(bits - 1) - 1) and 2^(bits - 1) - 1.

    After each column its error is made up for by those that are still to come (Frantar et al. 2023), by the inverse
    of inputs.T @ inputs + damping * (mean of its diagonal) * identity.
    """
    ### BEGIN SOLUTION
    top = 2 ** (bits - 1) - 1
    left, inputs = weight.double(), inputs.double()
    columns = weight.shape[1]
    hessian = inputs.T @ inputs
    hessian += damping * hessian.diagonal().mean() * torch.eye(columns, dtype=torch.float64)
    # Row c of the upper factor says what the columns from c on do best when the one at c is off by its diagonal.
    factor = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)
    codes, scales = torch.zeros(weight.shape, dtype=torch.int8), []
    for column in range(columns):
        if column % group == 0:
            scale = (left[:, column : column + group].abs().amax(1) / top).float()
            scale = torch.where(scale > 0, scale, 1.0)
            scales.append(scale)
        code = (left[:, column] / scale).round().clamp(-top, top)
        codes[:, column] = code.to(torch.int8)
        error = (left[:, column] - code * scale) / factor[column, column]
        left = left - error[:, None] * factor[column]
    return codes, torch.stack(scales, 1)
    ### END SOLUTION
