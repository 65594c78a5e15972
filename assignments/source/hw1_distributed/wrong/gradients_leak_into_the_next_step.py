# replaces: sharded_adam.py
# caught by: sharded_gradients_of_awkward_parameters
# mistake: parts of the last step are never forgotten
import torch
import torch.distributed as dist


def adam_update(parameter, gradient, mean, square, *, step, lr, betas, eps):
    mean.lerp_(gradient, 1 - betas[0])
    square.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    spread = (square / (1 - betas[1] ** step)).sqrt_().add_(eps)
    parameter.addcdiv_(mean, spread, value=-lr / (1 - betas[0] ** step))


class ShardedAdam:
    def __init__(self, parameters, rank, size, lr=0.001, betas=(0.9, 0.999), eps=1e-08):
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.rank, self.size, self.steps = (rank, size, 0)
        self.rule = {"lr": lr, "betas": betas, "eps": eps}
        self.lengths = [-(-parameter.numel() // size) for parameter in self.parameters]
        pairs = list(zip(self.parameters, self.lengths, strict=True))
        self.means = [parameter.new_zeros(length) for parameter, length in pairs]
        self.squares = [parameter.new_zeros(length) for parameter, length in pairs]

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, max_norm=None):
        numbers = range(len(self.parameters))
        return self._update([self._mean_part(number) for number in numbers], max_norm)

    def _mean_part(self, number):
        parameter, length = (self.parameters[number], self.lengths[number])
        if parameter.grad is None:
            return parameter.new_zeros(length)
        mine = self._padded(parameter.grad, length)
        received = torch.empty_like(mine)
        dist.all_to_all_single(received, mine)
        return received.view(self.size, length).sum(0).div_(self.size)

    def _update(self, gradients, max_norm):
        self.steps += 1
        total = gradients[0].new_zeros((), dtype=torch.float64)
        for gradient in gradients:
            total += gradient.square().sum(dtype=torch.float64)
        dist.all_reduce(total)
        norm = total.sqrt().item()
        scale = 1.0 if max_norm is None or norm <= max_norm else max_norm / norm
        states = zip(self.parameters, self.lengths, gradients, self.means, self.squares, strict=True)
        for parameter, length, gradient, mean, square in states:
            whole = self._padded(parameter, length)
            part = whole[self.rank * length : (self.rank + 1) * length].clone()
            adam_update(part, gradient.mul_(scale), mean, square, step=self.steps, **self.rule)
            gathered = torch.empty_like(whole)
            dist.all_gather_into_tensor(gathered, part)
            parameter.copy_(gathered[: parameter.numel()].view_as(parameter))
        return norm

    def _padded(self, tensor, length):
        flat = tensor.detach().reshape(-1)
        missing = self.size * length - flat.numel()
        return flat if missing == 0 else torch.cat([flat, flat.new_zeros(missing)])


class ShardedGradientAdam(ShardedAdam):
    def __init__(self, parameters, rank, size, **rule):
        super().__init__(parameters, rank, size, **rule)
        self.parts = [None] * len(self.parameters)
        for number, parameter in enumerate(self.parameters):
            parameter.register_post_accumulate_grad_hook(lambda _, number=number: self._collect(number))

    @torch.no_grad()
    def _collect(self, number):
        part = self._mean_part(number)
        self.parameters[number].grad = None
        self.parts[number] = part if self.parts[number] is None else self.parts[number].add_(part)

    @torch.no_grad()
    def step(self, max_norm=None):
        pairs = zip(self.parts, self.means, strict=True)
        gradients = [torch.zeros_like(mean) if part is None else part for part, mean in pairs]
        norm = self._update(gradients, max_norm)
        self.zero_grad()
        return norm
