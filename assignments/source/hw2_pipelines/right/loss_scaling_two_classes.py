# replaces: loss_scaling.py
# method: a state per optimizer object; overflows found before dividing, by x - x == 0; a scale kept as its logarithm
import math

import torch


class StaticLossScaler:
    def __init__(self, init_scale=65536.0):
        self.exponent = math.log2(init_scale)
        self.mantissa = init_scale / 2**self.exponent
        self.seen = []  # [optimizer, overflowed, stepped]

    def get_scale(self):
        return self.mantissa * 2**self.exponent

    def scale(self, loss):
        return torch.mul(loss, self.get_scale())

    def _entry(self, optimizer):
        return next((entry for entry in self.seen if entry[0] is optimizer), None)

    def unscale_(self, optimizer):
        if self._entry(optimizer) is not None:
            raise RuntimeError("unscale_() was called for this optimizer, or it had its step")
        gradients = [
            p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        overflowed = any(bool(((g - g) != 0).any()) for g in gradients)
        for g in gradients:
            g.copy_((g.double() / self.get_scale()).to(g.dtype))
        self.seen.append([optimizer, overflowed, False])

    def step(self, optimizer):
        if self._entry(optimizer) is None:
            self.unscale_(optimizer)
        entry = self._entry(optimizer)
        if entry[2]:
            raise RuntimeError("a second step in one iteration")
        entry[2] = True
        if not entry[1]:
            optimizer.step()
        return not entry[1]

    def update(self):
        self.seen = []

    def state_dict(self):
        return {"mantissa": self.mantissa, "exponent": self.exponent}

    def load_state_dict(self, state):
        self.mantissa, self.exponent = state["mantissa"], state["exponent"]


class DynamicLossScaler(StaticLossScaler):
    def __init__(self, init_scale=65536.0, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000):
        super().__init__(init_scale)
        self.up, self.down, self.interval = growth_factor, backoff_factor, growth_interval
        self.left = growth_interval

    def update(self):
        if any(entry[1] for entry in self.seen):
            self.mantissa *= self.down
            self.left = self.interval
        else:
            self.left -= 1
            if self.left == 0:
                self.mantissa *= self.up
                self.left = self.interval
        self.seen = []

    def state_dict(self):
        return {name: value for name, value in vars(self).items() if name != "seen"}

    def load_state_dict(self, state):
        vars(self).update(state)
