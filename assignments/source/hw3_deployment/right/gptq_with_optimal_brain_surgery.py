# replaces: gptq.py
# method: optimal brain surgery, the inverse itself, from which each finished column is eliminated
import torch


def gptq(weight, inputs, bits, group, damping=0.01):
    top = 2 ** (bits - 1) - 1
    rest, x = weight.to(torch.float64).clone(), inputs.to(torch.float64)
    h = x.mT @ x
    inverse = torch.linalg.inv(h + damping * h.trace() / len(h) * torch.eye(len(h), dtype=h.dtype))
    codes = torch.zeros_like(weight, dtype=torch.int8)
    scales = torch.ones(len(weight), weight.shape[1] // group)
    for c in range(weight.shape[1]):
        if not c % group:
            largest = rest[:, c : c + group].abs().amax(1)
            scales[:, c // group] = torch.where(largest > 0, largest / top, 1.0)
        s = scales[:, c // group].double()
        q = (rest[:, c] / s).round().clamp(-top, top)
        codes[:, c] = q
        rest[:, c:] -= ((rest[:, c] - q * s) / inverse[c, c])[:, None] * inverse[c, c:]
        inverse = inverse - inverse[:, c : c + 1] @ inverse[c : c + 1] / inverse[c, c]
    return codes, scales
