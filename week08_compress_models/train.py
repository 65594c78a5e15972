"""How the bundled models and texts were made: `python -m week08_compress_models.train texts`, then `... 0 1 2 draft`.

`texts` writes `pretrained/text.json.xz`, from the Python that runs it. A model trains on all docstrings of
`effdl.data`, less whatever validation or calibration hold. Nothing in the course needs to run it again.
"""

import json
import lzma
import math
import time
from typing import Annotated

import torch
import torch.nn.functional as F
import typer

from effdl import data
from week08_compress_models import language_model as lm

BLOCK = 8_000  # characters of neighbouring docstrings that stay in one part: mostly whole modules


def write_texts() -> None:
    """Cut the standard library's docstrings into blocks: one in 12 judges, one in 12 calibrates, the rest trains."""
    name, version, folder = next(data.sources())
    blocks, block, seen = [], "", set()
    for text in data.package_docstrings(name, version, folder):
        if text in seen:
            continue
        seen.add(text)
        block += text + "\n\n"
        if len(block) >= BLOCK:
            blocks.append(block)
            block = ""
    parts = {"validation": "", "calibration": "", "training": ""}
    for place, block in enumerate(blocks):
        part = {3: "validation", 9: "calibration"}.get(place % 12, "training")
        parts[part] += block
    packed = lzma.compress(json.dumps(parts, ensure_ascii=False).encode(), preset=9)
    (lm.FOLDER / "text.json.xz").write_bytes(packed)
    print({part: len(text) for part, text in parts.items()}, len(packed), "bytes packed")


def corpus() -> torch.Tensor:
    """All docstrings of this machine as bytes, uint8, without what validation and calibration hold."""
    judged = (lm.text("validation") + lm.text("calibration")).decode()
    kept = [text for text in data.docstrings() if text not in judged]
    return torch.frombuffer(bytearray("\n\n".join(kept).encode()), dtype=torch.uint8)


def train(model: lm.LanguageModel, codes: torch.Tensor, steps: int, seed: int, peak: float = 4e-3) -> None:
    """AdamW, warm-up, a cosine down to nothing; matrix products in bfloat16, where this machine was twice as fast."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.1)
    start, lately = time.perf_counter(), None
    for step in range(steps):
        rate = min(1, (step + 1) / 60) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = peak * rate
        tokens = lm.batch_of(codes, step, batch=8, seed=seed)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        lately = loss.item() if lately is None else 0.98 * lately + 0.02 * loss.item()
        if step % 50 == 49:
            seconds = time.perf_counter() - start
            print(f"{step + 1}: {lately / math.log(2):.3f} bits per byte, {seconds:.0f} s", flush=True)


def one(name: str, steps: int) -> None:
    """Train and keep a teacher, named by its seed, or the draft."""
    config, seed = (lm.DRAFT, 10) if name == "draft" else (lm.TEACHER, int(name))
    model = lm.LanguageModel(config, seed)
    train(model, corpus(), steps, seed)
    file = "draft.safetensors" if name == "draft" else f"teacher-{name}.safetensors"
    lm.save_safetensors(model.state_dict().items(), lm.FOLDER / file)
    print(name, f"{lm.bits_per_byte(lm.load(name if name == 'draft' else seed), lm.validation(256)):.4f}")


def main(
    names: Annotated[list[str], typer.Argument(help='"texts", "draft", or seeds of teachers')],
    steps: Annotated[int, typer.Option(min=1)] = 1500,
) -> None:
    """Make what lies in `pretrained/`."""
    torch.set_num_threads(1)
    known = ("texts", "draft", *map(str, lm.SEEDS))
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}")
    for name in names:
        write_texts() if name == "texts" else one(name, steps)


if __name__ == "__main__":
    typer.run(main)
