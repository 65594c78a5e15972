"""Students of three seeds, alone and taught by teacher 0: `python -m week08_compress_models.bench.distil`.

Writes `bench/distil.json`, and the students' files `pretrained/student-WAY-SEED.safetensors`, which the seminar
judges. `... SEED WAY` adds one of them.
"""

import functools
import json
import platform
import time

import torch

from week08_compress_models import language_model as lm
from week08_compress_models import students as d
from week08_compress_models.bench.command import run

STEPS, BATCH, TEMPERATURE, SHARE = 800, 8, 1.0, 0.7


def main(seeds: list[int], ways: list[str]) -> None:
    """Add these students to the record, and write their files."""
    loss = functools.partial(d.distillation_loss, temperature=TEMPERATURE, share=SHARE)
    for seed in seeds:
        for way in ways:
            teacher = lm.load(0) if way == "taught" else None
            model = lm.LanguageModel(d.STUDENT, seed=100 + seed)
            began = time.perf_counter()
            d.train(model, STEPS, seed, teacher, loss if teacher else d.alone, BATCH)
            seconds = round(time.perf_counter() - began, 1)
            lm.save_safetensors(model.state_dict().items(), d.file_of(seed, way))
            print(seed, way, f"{lm.bits_per_byte(d.student(seed, way), lm.validation(64)):.4f}", flush=True)
            found = json.loads(d.RECORD.read_text()) if d.RECORD.exists() else {"seconds": {}}
            found["seconds"][f"{way}-{seed}"] = seconds
            found |= {"steps": STEPS, "batch": BATCH, "temperature": TEMPERATURE, "share": SHARE}
            found |= {"torch": torch.__version__, "python": platform.python_version()}
            d.RECORD.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    run(main, ("alone", "taught"))
