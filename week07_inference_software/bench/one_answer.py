"""A thousand completions of prompts that nobody chose, in the arithmetic of a GPU's tensor cores. Some minutes.

    python -m week07_inference_software.bench.one_answer usual 0      # part 0 to 19, then batch-invariant 0 to 19

Values have 16 bits (bfloat16), sums 32: now and then rounding to 16 bits makes of a sum's last bit a difference of
four in a thousand, and the network does the rest. Each part adds to `one_answer.json` beside this file.
"""

import hashlib
import json
import sys
from datetime import date
from pathlib import Path

import torch

from effdl import device
from week07_inference_software import loads, one_answer
from week07_inference_software.engine import Config, Invariant, Llama, Usual
from week07_inference_software.engine.model import random_weights

RESULT = Path(__file__).with_suffix(".json")
SIZES = Config(vocabulary=512, width=256, layers=6, heads=4, groups=2, inner=704)
PROMPTS, ORDERS, EACH, NEW = 10, 10, 5, 48


def measure(kernels: Usual | Invariant, part: int) -> tuple[list[list[str]], list[list[str]]]:
    """Names of the different completions and logits of each prompt, in the orders of one part."""
    model = Llama(SIZES, random_weights(SIZES), torch.bfloat16, sums=torch.float32)
    prompts = loads.prompts(PROMPTS, (4, 40), SIZES.vocabulary)
    found = one_answer.ask(model, kernels, prompts, ORDERS, EACH, NEW, seed=part)

    def name(tokens: tuple[int, ...]) -> str:
        return hashlib.blake2b(repr(tokens).encode(), digest_size=6).hexdigest()

    completions = [sorted(map(name, texts)) for texts in found.completions]
    return completions, [sorted(digest.hex()[:12] for digest in digests) for digests in found.logits]


def main(name: str, part: int) -> None:
    """Measure one part with one kind of kernels, and add it to what is known."""
    torch.set_num_threads(1)
    kernels = {kernels.name: kernels for kernels in (Usual(), Invariant())}[name]
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    old = result.get(name, {"parts": [], "completions": [[]] * PROMPTS, "logits": [[]] * PROMPTS})
    for key, found in zip(("completions", "logits"), measure(kernels, part), strict=True):
        old[key] = [sorted({*a, *b}) for a, b in zip(old[key], found, strict=True)]
    old["parts"] = sorted({*old["parts"], part})
    old["asked"] = len(old["parts"]) * ORDERS * EACH
    result[name] = old
    result |= {"machine": device.kind_label(), "date": str(date.today()), "torch": torch.__version__}
    RESULT.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
