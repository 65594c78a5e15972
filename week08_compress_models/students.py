"""A student learns from text alone, or from text and a teacher: same start, same batches, same number of steps."""

import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from week08_compress_models import language_model as lm

STUDENT = lm.DRAFT
"""The student's shape: 75,000 weights, a ninth of the teacher's."""

RECORD = Path(__file__).parent / "bench" / "distil.json"
"""What `python -m week08_compress_models.bench.distil` measured."""

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of the student's logits (n, 256), the teacher's logits (n, 256) and the targets (n,) int64: one number."""


def distillation_loss(
    student: Tensor, teacher: Tensor, targets: Tensor, temperature: float = 1.0, share: float = 0.5
) -> Tensor:
    """Share of the teacher's word and of the text's, in nats (Hinton, Vinyals and Dean 2015).

    `share` · T² · KL(teacher at T || student at T) + (1 - `share`) · cross-entropy, each a mean over the n places.
    """
    soft = F.kl_div(
        F.log_softmax(student / temperature, -1),
        F.log_softmax(teacher / temperature, -1),
        reduction="batchmean",
        log_target=True,
    )
    return share * temperature**2 * soft + (1 - share) * F.cross_entropy(student, targets)


def alone(student: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
    """The loss without a teacher, with the same arguments."""
    return F.cross_entropy(student, targets)


def rate(step: int, steps: int, peak: float) -> float:
    """The learning rate: up in a twentieth of the steps, then down by a cosine."""
    return peak * min(1.0, (step + 1) / max(1, steps // 20)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def multiplies_bfloat16() -> bool:
    """Whether oneDNN has a kernel of this processor for products in bfloat16."""
    asked = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # no public name says it
    return asked is not None and asked()


def train(
    model: lm.LanguageModel,
    steps: int,
    seed: int,
    teacher: lm.LanguageModel | None = None,
    loss: Loss = alone,
    batch: int = 16,
    length: int = 256,
    peak: float = 6e-3,
    codes: Tensor | None = None,
) -> list[float]:
    """Train in place with AdamW on batches that `seed` and the step decide; the text's loss of each step, in bits.

    The teacher's logits are made on the same batch, without gradients. Products are in bfloat16 where the processor
    has instructions for them: emulated, as with AVX2, they take several times as long as in float32.
    """
    codes = lm.training() if codes is None else codes
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.1)
    model.train()
    curve = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps, peak)
        tokens = lm.batch_of(codes, step, batch, length, seed)
        inputs, targets = tokens[:, :-1], tokens[:, 1:].flatten()
        with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bfloat16()):
            logits = model(inputs).flatten(0, 1).float()
            with torch.no_grad():
                word = teacher(inputs).flatten(0, 1).float() if teacher is not None else logits
        value = loss(logits, word, targets)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        curve.append(F.cross_entropy(logits.detach(), targets).item() / math.log(2))
    model.eval()
    return curve


@functools.cache
def record() -> dict:
    """The recorded run of the bundled students: steps, batch, temperature, share, and seconds of each."""
    return json.loads(RECORD.read_text())


def file_of(seed: int, way: str) -> Path:
    """Where the bundled student of a seed lies, "taught" or "alone"."""
    return lm.FOLDER / f"student-{way}-{seed}.safetensors"


def student(seed: int, way: str = "taught") -> lm.LanguageModel:
    """The bundled student of a seed, "taught" by the teacher of seed 0, or "alone" from the same start."""
    model = lm.LanguageModel(STUDENT)
    model.load_state_dict(lm.load_safetensors(file_of(seed, way)))
    return model.eval()


def mean_and_interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """Mean of a few seeds' numbers and its 95 % interval by Student's t: (mean, low, high).

    Raises ValueError for fewer than two.
    """
    from scipy import stats

    if len(differences) < 2:
        raise ValueError("an interval over seeds needs at least two of them")
    values = torch.tensor(differences, dtype=torch.float64)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * float(values.std()) / math.sqrt(len(values))
    return float(values.mean()), float(values.mean()) - half, float(values.mean()) + half
