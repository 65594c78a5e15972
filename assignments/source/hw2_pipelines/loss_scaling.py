"""Loss scaling: keep gradients inside the range of float16 (Micikevicius et al., Mixed Precision Training, 2018).

scaled = scaler.scale(loss)      # multiply the loss, and with it every gradient
scaled.backward()
scaler.unscale_(optimizer)       # only where somebody looks at the gradients before the step
scaler.step(optimizer)           # a step, or none where a gradient overflowed
scaler.update()                  # the end of this iteration
"""

import torch


class StaticLossScaler:
    """Multiplies the loss by a number that never changes, and skips steps whose gradients overflowed.

    An *iteration* ends with `update`. A gradient has *overflowed* where one of its elements is inf, -inf or NaN;
    large finite numbers have not. Gradients are dense, of any floating-point dtype but float16.
    """

    def __init__(self, init_scale: float = 2.0**16):
        ### BEGIN SOLUTION
        self._scale = float(init_scale)
        self._overflowed = {}  # in this iteration: the id of an optimizer that is unscaled -> whether it overflowed
        self._stepped = set()  # in this iteration: the ids of optimizers that had their step
        ### END SOLUTION

    def get_scale(self) -> float:
        """Return the scale by which the next loss is multiplied."""
        ### BEGIN SOLUTION
        return self._scale
        ### END SOLUTION

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss times the scale, with its graph; `loss` itself stays as it is."""
        ### BEGIN SOLUTION
        return loss * self._scale
        ### END SOLUTION

    @torch.no_grad()
    def unscale_(self, optimizer) -> None:
        """Divide, in place, the gradients of all parameters of `optimizer` by the scale, and look for overflows.

        `optimizer` has `param_groups`, as PyTorch's have. A parameter whose gradient is None stays out.
        What becomes of the gradients afterwards (clipping) does not change whether they overflowed.

        Raises RuntimeError where this optimizer was unscaled, or had its step, in this iteration already.
        """
        ### BEGIN SOLUTION
        if id(optimizer) in self._overflowed:
            raise RuntimeError("the gradients of this optimizer are unscaled already; call update() first")
        overflowed = False
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.div_(self._scale)
                    overflowed = overflowed or not parameter.grad.isfinite().all()
        self._overflowed[id(optimizer)] = overflowed
        ### END SOLUTION

    def step(self, optimizer) -> bool:
        """Call `optimizer.step()` on unscaled gradients and return True; where one overflowed, only return False.

        Unscales first, unless `unscale_` did. Each optimizer answers for its own gradients: an overflow among
        those of another one does not concern it.

        Raises RuntimeError where this optimizer had its step in this iteration already.
        """
        ### BEGIN SOLUTION
        if id(optimizer) in self._stepped:
            raise RuntimeError("this optimizer had its step already; call update() first")
        if id(optimizer) not in self._overflowed:
            self.unscale_(optimizer)
        self._stepped.add(id(optimizer))
        if self._overflowed[id(optimizer)]:
            return False
        optimizer.step()
        return True
        ### END SOLUTION

    def update(self) -> None:
        """End the iteration."""
        ### BEGIN SOLUTION
        self._overflowed.clear()
        self._stepped.clear()
        ### END SOLUTION

    def state_dict(self) -> dict:
        """Return all that decides how this scaler goes on, as numbers; a later change of the scaler is not in it.

        Is called between two iterations.
        """
        ### BEGIN SOLUTION
        return {"scale": self._scale}
        ### END SOLUTION

    def load_state_dict(self, state: dict) -> None:
        """Go on as the scaler that `state` came from would have, whatever this one's settings were."""
        ### BEGIN SOLUTION
        self._scale = state["scale"]
        ### END SOLUTION


class DynamicLossScaler(StaticLossScaler):
    """Looks for the largest scale at which gradients do not overflow, and goes on looking.

    Scaling, unscaling and skipping are as above. `update` multiplies the scale by `backoff_factor` if a gradient of
    any optimizer overflowed in this iteration, once, however many did. Otherwise it counts: after `growth_interval`
    iterations in a row without an overflow it multiplies the scale by `growth_factor`. The count begins again at
    zero after an overflow, and after a growth.
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ):
        ### BEGIN SOLUTION
        super().__init__(init_scale)
        self._growth, self._backoff, self._interval = growth_factor, backoff_factor, growth_interval
        self._good = 0  # iterations in a row without an overflow
        ### END SOLUTION

    def update(self) -> None:
        """End the iteration, and let the scale grow or back off."""
        ### BEGIN SOLUTION
        if any(self._overflowed.values()):
            self._scale *= self._backoff
            self._good = 0
        else:
            self._good += 1
            if self._good == self._interval:
                self._scale *= self._growth
                self._good = 0
        super().update()
        ### END SOLUTION

    def state_dict(self) -> dict:
        """Return all that decides how this scaler goes on: scale, count and settings, as numbers."""
        ### BEGIN SOLUTION
        return {
            "scale": self._scale,
            "growth_factor": self._growth,
            "backoff_factor": self._backoff,
            "growth_interval": self._interval,
            "good_iterations": self._good,
        }
        ### END SOLUTION

    def load_state_dict(self, state: dict) -> None:
        """Go on as the scaler that `state` came from would have, whatever this one's settings were."""
        ### BEGIN SOLUTION
        super().load_state_dict(state)
        self._growth, self._backoff = state["growth_factor"], state["backoff_factor"]
        self._interval, self._good = state["growth_interval"], state["good_iterations"]
        ### END SOLUTION
