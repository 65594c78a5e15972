# replaces: loss_scaling.py
# method: the scale and what was found are tensors; PyTorch's kernel unscales all gradients of a kind at once
import torch


class StaticLossScaler:
    factors = (1.0, 1.0, 2**31 - 1)

    def __init__(self, init_scale=2.0**16):
        self._scale = torch.tensor(float(init_scale))
        self._begin()

    def _begin(self):
        self._found, self._done = {}, {}

    def get_scale(self):
        return self._scale.item()

    def scale(self, loss):
        return loss * self._scale.to(loss.device)

    def unscale_(self, optimizer):
        if optimizer in self._found:
            raise RuntimeError("already unscaled")
        found = torch.zeros(1)
        kinds = {}
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    kinds.setdefault((p.grad.device, p.grad.dtype), []).append(p.grad)
        for (device, _), gradients in kinds.items():
            here = torch.zeros(1, device=device)
            inverse = self._scale.double().reciprocal().float().to(device)
            torch._amp_foreach_non_finite_check_and_unscale_(gradients, here, inverse)
            found += here.cpu()
        self._found[optimizer] = found

    def step(self, optimizer):
        if self._done.get(optimizer):
            raise RuntimeError("already stepped")
        if optimizer not in self._found:
            self.unscale_(optimizer)
        self._done[optimizer] = True
        good = self._found[optimizer].item() == 0
        if good:
            optimizer.step()
        return good

    def update(self):
        self._begin()

    def state_dict(self):
        return {"scale": self._scale.clone()}

    def load_state_dict(self, state):
        self._scale = state["scale"].clone()


class DynamicLossScaler(StaticLossScaler):
    def __init__(self, init_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        super().__init__(init_scale)
        self._settings = [growth_factor, backoff_factor, growth_interval]
        self._tracker = torch.zeros(1, dtype=torch.int32)

    def update(self):
        growth, backoff, interval = self._settings
        found = sum(self._found.values(), torch.zeros(1))
        torch._amp_update_scale_(self._scale, self._tracker, found, growth, backoff, interval)
        self._begin()

    def state_dict(self):
        return {
            "scale": self._scale.clone(),
            "tracker": self._tracker.clone(),
            "settings": list(self._settings),
        }

    def load_state_dict(self, state):
        self._scale, self._tracker = state["scale"].clone(), state["tracker"].clone()
        self._settings = list(state["settings"])
