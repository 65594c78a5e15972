"""Distillation: a small model learns from what a large one finds likely, not from labels alone."""

import torch
import torch.nn.functional as F


def distillation_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    targets: torch.Tensor,
    temperature: float,
    alpha: float,
    padding: int = -100,
) -> torch.Tensor:
    """Return alpha * T^2 * KL(teacher at T || student at T) + (1 - alpha) * cross-entropy, a mean over tokens.

    `student` and `teacher` are logits [batch, length, words], `targets` [batch, length], int64; "at T" is the softmax
    of logits / T. A token whose target is `padding` counts nowhere; without any token the loss is 0. Gradients reach
    the student, and never the teacher.
    """
    ### BEGIN SOLUTION
    there = targets != padding
    student, teacher, targets = student[there], teacher[there].detach(), targets[there]
    if not len(targets):
        return student.sum()  # 0, with a gradient of zeros
    # kl_div(input, target) is KL(target || input), both given as logarithms.
    soft = F.kl_div(
        (student / temperature).log_softmax(-1),
        (teacher / temperature).log_softmax(-1),
        reduction="batchmean",
        log_target=True,
    )
    return alpha * temperature**2 * soft + (1 - alpha) * F.cross_entropy(student, targets)
    ### END SOLUTION


def student_logits(weights: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """Return the logits [n, classes] of the student, a perceptron with one hidden layer, for `inputs`. Given."""
    hidden = (inputs @ weights["0.weight"].T + weights["0.bias"]).relu()
    return hidden @ weights["1.weight"].T + weights["1.bias"]


def train_student(
    weights: dict[str, torch.Tensor], inputs: torch.Tensor, labels: torch.Tensor, teacher: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return trained weights of the same names, shapes and dtype; `weights` are random ones to begin with.

    `inputs` [n, k] are float32, `labels` [n] int64, and `teacher` [n, classes] the teacher's logits for the inputs.
    A label is a draw from the teacher's softmax: it is often not what the teacher finds most likely.
    """
    ### BEGIN SOLUTION
    weights = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    steps = 200
    optimizer = torch.optim.Adam(weights.values(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        logits = student_logits(weights, inputs)
        loss = distillation_loss(logits[None], teacher[None], labels[None], temperature=2.0, alpha=1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return {name: weight.detach() for name, weight in weights.items()}
    ### END SOLUTION
