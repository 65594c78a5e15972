# replaces: gptq.py
# method: columns with large inputs first, scales from the weight as it was, searched for the least squared error
import torch


def gptq(weight, inputs, bits, group, damping=0.01):
    top = (1 << bits - 1) - 1
    n, k = weight.shape
    parts = weight.reshape(n, k // group, group)
    widest = parts.abs().amax(-1) / top
    widest[widest == 0] = 1
    best, scales = torch.full_like(widest, torch.inf), widest.clone()
    for share in torch.linspace(0.7, 1, 13):
        trial = widest * share
        rounded = (parts / trial[..., None]).round().clamp(-top, top) * trial[..., None]
        off = (rounded - parts).square().sum(-1)
        scales, best = torch.where(off < best, trial, scales), torch.minimum(off, best)
    x = inputs.double()
    order = x.square().sum(0).argsort(descending=True)
    x = x[:, order]
    h = x.T @ x
    h.diagonal().add_(damping * h.diagonal().mean())
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    rest = weight.double()[:, order]
    codes = torch.empty(n, k, dtype=torch.int8)
    for place, column in enumerate(order.tolist()):
        scale = scales[:, column // group].double()
        code = torch.clamp(torch.round(rest[:, place] / scale), -top, top)
        codes[:, column] = code.to(torch.int8)
        off = (rest[:, place] - code * scale) / factor[place, place]
        rest[:, place + 1 :] -= torch.outer(off, factor[place, place + 1 :])
    return codes, scales
