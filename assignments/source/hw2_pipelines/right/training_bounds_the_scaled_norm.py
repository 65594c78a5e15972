# replaces: training.py
# method: clips before unscaling, to the norm times the scale; the loss comes back from the scaled one
import torch


def training_step(model, loss_fn, inputs, targets, optimizer, scaler, max_norm=None):
    optimizer.zero_grad(set_to_none=True)
    scale = scaler.get_scale()
    scaled = scaler.scale(loss_fn(model(inputs), targets))
    torch.autograd.backward(scaled)
    if max_norm is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm * scale)
    scaler.step(optimizer)
    scaler.update()
    return scaled.item() / scale
