"""The tables of lecture 1: what its other modules found, in rows."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from effdl.bench import Comparison, Ratio
from effdl.notebook import Table
from effdl.transformer import Config
from week05_fast_pipelines import gradients as g
from week05_fast_pipelines import number_formats as nf
from week05_fast_pipelines import training_arithmetic as ta

BLOCK_WAYS = {
    "e4m3, one scale": lambda x: nf.to_scaled(x, nf.E4M3),
    "e5m2, one scale": lambda x: nf.to_scaled(x, nf.E5M2),
    "MXFP8 (e4m3), the standard's scale": nf.to_mxfp8,
    "MXFP8 (e4m3), scale rounded up": lambda x: nf.to_mxfp8(x, round_up=True),
    "e2m1, one scale": lambda x: nf.to_scaled(x, nf.E2M1),
    "NVFP4": nf.to_nvfp4,
}
"""Ways to store a tensor in 8 or 4 bits with scales."""


def formats() -> Table:
    """What each format can hold."""
    rows = []
    for f in nf.FORMATS:
        sizes = [f"{x:.3g}" for x in (f.step, f.smallest, f.smallest_normal)]
        above = "infinity" if f.infinite else "NaN" if f.has_nan else "saturates"
        rows.append([f.name, f.bits, f"{f.exponent} + {f.mantissa}", *sizes, f"{f.largest:.5g}", above])
    headers = ["format", "bits", "e + m", "step at 1", "smallest", "smallest normal", "largest", "above it"]
    return Table(headers, rows)


def rounded(examples: Sequence[float]) -> Table:
    """What each format makes of some numbers."""
    rows = [
        [f.name, *(f"{float(nf.round_to(torch.tensor(x), f)):.5g}" for x in examples)] for f in nf.FORMATS
    ]
    return Table(["rounded to", *(f"{x:.9g}" for x in examples)], rows)


def overflows(seen: g.Gradients) -> Table:
    """Which share of the activations' gradients vanishes in each format, and by which factor each kind overflows."""
    rows = []
    for form in (nf.BF16, nf.FP16, nf.E5M2, nf.E4M3):
        tops = [g.first_overflow(some, form) for some in (seen.activations, seen.parameters)]
        lost = g.fate(seen.activations, form).vanished
        rows.append([form.name, f"{100 * lost:.4g}", *(f"2^{k}" for k in tops)])
    headers = ["format", "activations' gradients that vanish, %", "their first overflow, at a factor of"]
    return Table([*headers, "that of parameters', at"], rows)


def fates(seen: g.Gradients, form: nf.Format, exponents: Sequence[int]) -> Table:
    """What becomes of gradients by loss scale 2**k."""
    rows = []
    for k in exponents:
        both = [g.fate(some, form, 2.0**k) for some in (seen.activations, seen.parameters)]
        shares = [x for f in both for x in (f.vanished, f.subnormal, f.overflowed)]
        rows.append([f"2^{k}", *(f"{100 * x:.3g}" for x in shares)])
    kinds = ("zero", "subnormal", "infinite")
    headers = [f"{who}: {kind}" for who in ("activations", "parameters") for kind in kinds]
    return Table(["loss scale", *headers], rows, f"% of the gradients that are not zero, in {form.name}")


def blocks(x: Tensor) -> tuple[dict[str, float], Table]:
    """Errors of `x`, (rows, a multiple of 32), stored in each of BLOCK_WAYS: by name, and as a table."""
    errors, rows = {}, []
    for name, way in BLOCK_WAYS.items():
        stored = way(x)
        errors[name] = nf.noise(x, stored)
        zero = float(((stored == 0) & (x != 0)).double().mean())
        rows.append([name, f"{100 * errors[name]:.3g}", f"{100 * zero:.2g}"])
    return errors, Table(["stored as", "error, % (root mean square)", "% that become zero"], rows)


def shared_scales(tensors: Mapping[str, Tensor]) -> Table:
    """MXFP8's error on flat tensors, with the standard's scale and one rounded up; a rest is cut off."""
    rows = []
    for name, x in tensors.items():
        whole = x[: x.numel() // 32 * 32]
        standard, up = (nf.noise(whole, nf.to_mxfp8(whole, round_up=up)) for up in (False, True))
        ratio = f"{standard / up:.2f}" if up else "exact"
        rows.append([name, f"{100 * standard:.3g}", f"{100 * up:.3g}", ratio])
    return Table(["MXFP8, error in %", "the standard's scale", "scale rounded up", "ratio"], rows)


def continuations(rates: Mapping[float, Mapping[str, g.Continuation]]) -> Table:
    """How far training came, by learning rate and rounding."""
    rows = [
        [f"{lr:g}", how, f"{run.way:.3f}", f"{run.moved:.0%}", f"{run.loss:.4f}"]
        for lr, runs in rates.items()
        for how, run in runs.items()
    ]
    headers = ["learning rate", "weights", "share of fp32's way", "weights that moved", "held-out loss"]
    return Table(headers, rows)


def six_n_d(sizes: Sequence[tuple[int, int]], lengths: Sequence[int]) -> dict[str, list[float]]:
    """6ND over the operations counted, by width and length; sizes are (width, blocks), the vocabulary has 50,304."""
    shares = {}
    for width, depth in sizes:
        shares[f"width {width:,}"] = []
        for length in lengths:
            config = Config(50304, length, width, heads=width // 64, blocks=depth)
            count, parameters = ta.counted_without_memory(config, batch=1)
            shares[f"width {width:,}"].append(6 * parameters * length / count)
    return shares


def utilisation(race: Comparison, done: int, step: str, peak: str, size: int) -> Ratio:
    """Operations per second of a step over those of a square product of `size`, from the same rounds of a race."""
    ratio, work = race.ratio(peak, step), done / (2 * size**3)
    return Ratio(ratio.value * work, ratio.low * work, ratio.high * work)


def utilisations(race: Comparison, model: int, repeated: int, size: int) -> Table:
    """MFU and HFU of the three steps in a race; operations without recomputation and with it."""
    rows = []
    for step, done in (("float32", model), ("float32, checkpointed", repeated), ("bfloat16", model)):
        peak = "product in bfloat16" if step == "bfloat16" else "product"
        shares = [f"{utilisation(race, count, step, peak, size).value:.2f}" for count in (model, done)]
        speed = 2 * size**3 / race.median(peak) / 1e9
        rows.append([step, f"{race.ratio(step, 'float32').value:.2f}", f"{speed:.3g}", *shares])
    return Table(["step", "time over float32's", "peak, GFLOP/s", "MFU", "HFU"], rows)


def rows_until_arithmetic(chip: ta.Chip) -> Table:
    """From how many rows on a product is bound by arithmetic, by format and width."""
    rows = []
    for name, flops in chip.flops.items():
        ridge, size = flops / chip.bandwidth, ta.BYTES[name]
        found = [ta.rows_to_compute(ridge, size, k, k) for k in (float("inf"), 4096, 1024)]
        rows.append([name, f"{flops / 1e12:.0f}", f"{ridge:.0f}", *(f"{m:.0f}" for m in found)])
    headers = ["format", "TFLOP/s", "ridge, FLOP per byte", "rows, wide layer", "width 4,096", "width 1,024"]
    return Table(headers, rows, chip.name)
