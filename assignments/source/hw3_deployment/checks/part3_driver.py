"""Calls the student's code inside the worker and hands back what it gave. Judges nothing.

This file is released. It runs beside code that nobody trusts, so the examiner takes from it raw outputs.
"""

import copy

import torch


def laid_out(x, layout):
    """Return the numbers of `x` [..., n, k] as they lie in the middle of something else; "plain" is `x` itself."""
    if layout == "transposed":
        return x.mT.contiguous().mT
    if layout == "every second":
        wide = torch.full((*x.shape[:-1], 2 * x.shape[-1]), 99).to(x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]
    return x


# --- int8 -------------------------------------------------------------------------------------------------------


def quantized(rows):
    """Return what `quantize_rows` does."""
    from int8 import quantize_rows

    return quantize_rows(rows)


def multiplied(pairs):
    """Return the product of each pair of codes."""
    from int8 import int8_matmul

    return [int8_matmul(left, right) for left, right in pairs]


def linear(inputs, codes, scales, bias, layout="plain"):
    """Return the outputs of `int8_linear`, the inputs as they are then, and their codes and scales.

    "plain" are the outputs of the same rows as one matrix, that lies in memory as matrices do.
    """
    from int8 import int8_linear, quantize_rows

    rows = inputs.reshape(-1, inputs.shape[-1])
    plain = int8_linear(rows.clone(), codes.clone(), scales, bias)
    inputs, codes = laid_out(inputs, layout), laid_out(codes, layout)
    outputs = int8_linear(inputs, codes, scales, bias)
    return {
        "outputs": outputs,
        "plain": plain,
        "inputs": inputs.clone(),
        "rows": quantize_rows(rows.clone()),
    }


# --- gptq -------------------------------------------------------------------------------------------------------


def on_a_grid(weight, inputs, bits, group):
    """Return what `gptq` does."""
    from gptq import gptq

    return gptq(weight, inputs, bits, group)


# --- rotation ---------------------------------------------------------------------------------------------------


def transformed(vectors):
    """Return `hadamard` of each tensor, "ValueError" where it raised one, and the tensors as they are then."""
    from rotation import hadamard

    found = []
    for x in vectors:
        try:
            found.append(hadamard(x))
        except ValueError:
            found.append("ValueError")
    return {"found": found, "vectors": vectors}


def rotated(first, bias, second, signs, hidden, layout="plain"):
    """Return what `rotate_pair` does, its arguments as they are then, and `hadamard(signs * hidden)`."""
    from rotation import hadamard, rotate_pair

    arguments = [laid_out(first, layout), bias, laid_out(second, layout), signs]
    found = rotate_pair(*arguments)
    return {
        "found": list(found),
        "arguments": [one.clone() for one in arguments],
        "hidden": hadamard(signs * hidden),
    }


# --- pruning ----------------------------------------------------------------------------------------------------


def macs(networks):
    """Return what `count_macs` says of each pair of layers and shape."""
    from pruning import count_macs

    return [count_macs(layers, tuple(shape)) for layers, shape in networks]


def pruned(layers, shape, cases):
    """Return for each [budget, least] the network of `prune`, or "ValueError", and the layers as they are then."""
    from pruning import prune

    found, given = [], [copy.deepcopy(layers) for _ in cases]
    for mine, (budget, least) in zip(given, cases, strict=True):
        try:
            found.append(prune(mine, tuple(shape), budget, least))
        except ValueError:
            found.append("ValueError")
    return {"found": found, "layers": given[0]}


def masks(weights):
    """Return `mask_2_4` of each weight."""
    from pruning import mask_2_4

    return [mask_2_4(weight) for weight in weights]


# --- distillation -----------------------------------------------------------------------------------------------


def losses(cases):
    """Return `distillation_loss` of each list of arguments."""
    from distil import distillation_loss

    return [distillation_loss(*arguments) for arguments in cases]


def gradients(student, teacher, targets, temperature, alpha, directions):
    """Return the gradients of both, and the losses a little before and behind `student` in each direction."""
    from distil import distillation_loss

    around = [
        distillation_loss(student + step * direction, teacher, targets, temperature, alpha)
        for direction in directions
        for step in (-1e-4, 1e-4)
    ]
    student, teacher = student.clone().requires_grad_(), teacher.clone().requires_grad_()
    loss = distillation_loss(student, teacher, targets, temperature, alpha)
    loss.backward()
    return {"around": around, "student": student.grad, "teacher": teacher.grad, "loss": loss.detach()}


def trained(weights, inputs, labels, teacher):
    """Return the weights after `train_student`."""
    from distil import train_student

    return train_student(weights, inputs, labels, teacher)


# --- budget -----------------------------------------------------------------------------------------------------


def compressed(layers, inputs, macs, size):
    """Return the network of `compress`."""
    from budget import compress

    return compress(layers, inputs, macs, size)
