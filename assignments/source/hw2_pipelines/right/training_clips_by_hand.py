# replaces: training.py
# method: always unscales by hand; the norm of all gradients joined, in float64, and a factor of at most one
import torch


def training_step(model, loss_fn, inputs, targets, optimizer, scaler, max_norm=None):
    for p in model.parameters():
        p.grad = None
    loss = loss_fn(model(inputs), targets)
    scaler.scale(loss).backward()
    value = float(loss)
    scaler.unscale_(optimizer)
    if max_norm is not None:
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norm = torch.cat([g.flatten().double() for g in gradients]).norm().item()
        for g in gradients:
            g.mul_(min(1.0, max_norm / norm) if norm > 0 else 1.0)
    scaler.step(optimizer)
    scaler.update()
    return value
