"""A thousand completions of prompts that nobody chose, in the arithmetic of a GPU's tensor cores. Some minutes.

    python -m week07_inference_software.bench.one_answer

Values have 16 bits (bfloat16), sums 32: rounding to 16 bits makes a last bit of a sum now and then a difference of
four in a thousand, and the network does the rest. The result goes to `one_answer.json` beside this file.
"""

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
PROMPTS, ORDERS, EACH, NEW = 10, 125, 8, 48


def measure(kernels: Usual | Invariant) -> dict:
    """Different completions and logits of all orders."""
    config = Config()
    model = Llama(config, random_weights(config), torch.bfloat16, sums=torch.float32)
    prompts = loads.prompts(PROMPTS, (4, 40), config.vocabulary)
    found = one_answer.ask(model, kernels, prompts, ORDERS, EACH, NEW)
    return {
        "asked": found.asked,
        "completions": list(map(len, found.completions)),
        "logits": list(map(len, found.logits)),
    }


def main() -> None:
    """Measure one kind of kernels, or both, and write down what came out."""
    torch.set_num_threads(1)
    kinds = {kernels.name: kernels for kernels in (Usual(), Invariant())}
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in sys.argv[1:] or kinds:
        result[name] = measure(kinds[name])
    result |= {"machine": device.kind_label(), "date": str(date.today()), "torch": torch.__version__}
    result |= {"prompts": PROMPTS, "orders": ORDERS, "each": EACH, "new": NEW}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
