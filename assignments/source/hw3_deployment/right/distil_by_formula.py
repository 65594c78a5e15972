# replaces: distil.py
# method: sums over masked tokens by the formulas themselves; training in mini-batches with momentum
import torch


def distillation_loss(student, teacher, targets, temperature, alpha, padding=-100):
    with torch.no_grad():
        wanted = torch.softmax(teacher / temperature, -1)
        told = torch.log_softmax(teacher / temperature, -1)
    mine = torch.log_softmax(student / temperature, -1)
    soft = (wanted * (told - mine)).sum(-1)
    there = (targets != padding).to(student.dtype)
    plain = (
        torch.logsumexp(student, -1) - student.gather(-1, (targets * (targets != padding))[..., None])[..., 0]
    )
    each = alpha * temperature * temperature * soft + (1 - alpha) * plain
    return (each * there).sum() / there.sum().clamp(min=1)


def student_logits(weights, inputs):
    hidden = torch.relu(torch.nn.functional.linear(inputs, weights["0.weight"], weights["0.bias"]))
    return torch.nn.functional.linear(hidden, weights["1.weight"], weights["1.bias"])


def train_student(weights, inputs, labels, teacher):
    weights = {name: torch.nn.Parameter(value.clone()) for name, value in weights.items()}
    optimizer = torch.optim.SGD(weights.values(), lr=0.1, momentum=0.9, nesterov=True)
    epochs = 60
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * (1 - epoch / epochs)
        for batch in torch.randperm(len(inputs)).split(100):
            loss = distillation_loss(
                student_logits(weights, inputs[batch])[None],
                teacher[batch][None],
                labels[batch][None],
                3.0,
                0.9,
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights.values(), 5.0)
            optimizer.step()
    return {name: value.detach().clone() for name, value in weights.items()}
