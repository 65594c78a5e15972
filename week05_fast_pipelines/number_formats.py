"""Number formats as arithmetic on float64: what each can hold, and how a number is rounded to it.

A value of any format here fits in float32, so :func:`round_to` returns float32 tensors that hold only values of the
format. All steps are exact (scaling by powers of two, rounding to whole numbers), so the result is the same on every
machine. PyTorch's own types are compared bit by bit in the tests.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDINGS = ("nearest", "stochastic", "zero")
OVERFLOWS = ("ieee", "saturate")


@dataclass(frozen=True)
class Format:
    """A binary floating-point format with a sign: exponent bits, mantissa bits, and what lies at the top.

    IEEE 754-2019 for fp32 and fp16; Micikevicius et al., FP8 formats for deep learning, 2022; Rouhani et al.,
    Microscaling data formats for deep learning, 2023 (e2m1).
    """

    name: str
    exponent: int
    mantissa: int
    largest: float
    infinite: bool = True
    """Whether it has infinities. Without them an overflow is NaN, or saturates."""
    has_nan: bool = True

    @property
    def bits(self) -> int:
        """Bits of a number, its sign included. (tf32 is 19 bits of arithmetic, stored in 32.)"""
        return 1 + self.exponent + self.mantissa

    @property
    def bias(self) -> int:
        """What is subtracted from the stored exponent."""
        return 2 ** (self.exponent - 1) - 1

    @property
    def lowest_exponent(self) -> int:
        """The exponent of the smallest normal number."""
        return 1 - self.bias

    @property
    def smallest_normal(self) -> float:
        """The smallest number with all its mantissa bits."""
        return 2.0**self.lowest_exponent

    @property
    def smallest(self) -> float:
        """The smallest positive number: a subnormal."""
        return 2.0 ** (self.lowest_exponent - self.mantissa)

    @property
    def step(self) -> float:
        """The distance from 1 to the next number, often called epsilon."""
        return 2.0**-self.mantissa


FP32 = Format("fp32", 8, 23, (2 - 2**-23) * 2.0**127)
TF32 = Format("tf32", 8, 10, (2 - 2**-10) * 2.0**127)
BF16 = Format("bf16", 8, 7, (2 - 2**-7) * 2.0**127)
FP16 = Format("fp16", 5, 10, 65504.0)
E5M2 = Format("fp8 e5m2", 5, 2, 57344.0)
E4M3 = Format("fp8 e4m3", 4, 3, 448.0, infinite=False)
E2M1 = Format("fp4 e2m1", 2, 1, 6.0, infinite=False, has_nan=False)
FORMATS = (FP32, TF32, BF16, FP16, E5M2, E4M3, E2M1)


def power_of_two(exponents: Tensor) -> Tensor:
    """2**exponents as float64, exactly; exponents (...) int64 between -1022 and 1023. Made of bits, not by `pow`."""
    return ((exponents + 1023) << 52).view(torch.float64)


def _unit(x: Tensor, form: Format) -> tuple[Tensor, Tensor]:
    """The exponent at which each number of float64 `x` is stored, and the distance of its neighbours there."""
    exponent = torch.frexp(x)[1].long() - 1  # frexp's mantissa lies in [0.5, 1)
    exponent = torch.where(x == 0, form.lowest_exponent, exponent).clamp(form.lowest_exponent, 1000)
    return exponent, power_of_two(exponent - form.mantissa)


def round_to(
    x: Tensor,
    form: Format,
    rounding: str = "nearest",
    overflow: str = "ieee",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Round to a format: float32 or float64 of any shape, to float32 of the same shape.

    Args:
        rounding: "nearest" (ties to the even neighbour), "zero" (cut off), or "stochastic": up with the probability
            that makes the expected result `x`.
        overflow: what becomes of a result above the largest number. "ieee": infinity, or NaN where the format has no
            infinity; "saturate": the largest number.
        generator: of the random numbers.

    Raises ValueError for another word.
    """
    if rounding not in ROUNDINGS or overflow not in OVERFLOWS:
        raise ValueError(
            f"rounding is one of {', '.join(ROUNDINGS)}, not {rounding!r}, "
            f"and overflow one of {', '.join(OVERFLOWS)}, not {overflow!r}"
        )
    wide = x.double()
    finite = wide.isfinite()
    _, unit = _unit(torch.where(finite, wide, 0.0), form)
    ratio = wide / unit
    if rounding == "nearest":
        ratio = ratio.round()  # torch.round takes ties to the even neighbour
    elif rounding == "zero":
        ratio = ratio.trunc()
    else:
        chance = torch.rand(x.shape, dtype=torch.float64, generator=generator, device=x.device)
        ratio = (ratio + chance).floor()
    result = torch.where(finite, ratio * unit, wide)
    return _above(result, form, overflow).float()


def _above(result: Tensor, form: Format, overflow: str) -> Tensor:
    """Replace what lies above the largest number, infinities among it; NaN stays."""
    too_large = result.abs() > form.largest
    if overflow == "saturate" or not (form.infinite or form.has_nan):
        top = torch.full_like(result, form.largest)
    else:
        top = torch.full_like(result, torch.inf if form.infinite else torch.nan)
    return torch.where(too_large, top.copysign(result), result)


def encode(values: Tensor, form: Format) -> Tensor:
    """The bits of values of the format, as int64: sign, exponent, mantissa. NaN becomes -1: it has many codes.

    Raises ValueError if a value is not one of the format's.
    """
    if not torch.equal(round_to(values, form).nan_to_num(-1.0), values.float().nan_to_num(-1.0)):
        raise ValueError(f"not all values are numbers of {form.name}; round them first")
    wide = values.double()
    finite = wide.isfinite()
    exponent, unit = _unit(torch.where(finite, wide, 0.0), form)
    # Among normal numbers the unit count starts at 2**mantissa, which is the one that the exponent's field holds.
    code = (wide.abs() / unit).nan_to_num(0, 0, 0).long() + (
        (exponent - form.lowest_exponent) << form.mantissa
    )
    top = (2**form.exponent - 1) << form.mantissa
    code = torch.where(wide.isinf(), top, code) | (wide.signbit().long() << (form.bits - 1))
    return torch.where(wide.isnan(), -1, code)


def decode(codes: Tensor, form: Format) -> Tensor:
    """The values of bit patterns, int64 to float32; the reverse of :func:`encode`, for finite numbers and infinities.

    Raises ValueError for a pattern with more bits than the format has.
    """
    if codes.numel() and (codes.min() < 0 or codes.max() >= 2**form.bits):
        raise ValueError(f"a code of {form.name} lies between 0 and {2**form.bits - 1}")
    field = codes >> form.mantissa & (2**form.exponent - 1)
    fraction = codes & (2**form.mantissa - 1)
    normal = field > 0
    count = fraction + (normal.long() << form.mantissa)
    unit = power_of_two(torch.where(normal, field, 1) - form.bias - form.mantissa)
    value = count * unit
    special = value > form.largest
    infinite = (fraction == 0) & form.infinite
    value = torch.where(special, torch.where(infinite, torch.inf, torch.nan), value)
    return torch.where(codes >> (form.bits - 1) == 1, -value, value).float()


def values(form: Format) -> Tensor:
    """All finite values of a format of 16 bits or fewer, ascending, -0 left out; float32."""
    found = decode(torch.arange(2**form.bits), form)
    return found[found.isfinite()].unique()


def hard_cases(form: Format) -> Tensor:
    """Where rounding can go wrong: each value of a format, each middle of two neighbours, and float32's next to both.

    Some 9 float32 numbers for each value of the format, those beyond the largest among them.
    """
    exact = values(form).double()
    middles = (exact[1:] + exact[:-1]) / 2
    beyond = form.largest + torch.tensor([0.5, 1.0, 2.0]) * form.largest * form.step / 2
    points = torch.cat([exact, middles, beyond, -beyond]).float()
    points = points[points.isfinite()]
    up, down = (points.nextafter(torch.tensor(end)) for end in (torch.inf, -torch.inf))
    return torch.cat([points, up, down, torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan])])


TORCH = {FP16: torch.float16, BF16: torch.bfloat16, E5M2: torch.float8_e5m2, E4M3: torch.float8_e4m3fn}
"""PyTorch's own types of these formats."""
E4M3_OVERFLOWS_ABOVE = 464.0
"""The middle between 448 and 480, which would be the next number: it goes to 448, the even one."""


def differing(form: Format, x: Tensor) -> int:
    """For how many of the float32 numbers `x` our bits differ from those of PyTorch's cast.

    Numbers that overflow e4m3 are left out: older versions of PyTorch made NaN of them, 2.13 the largest number.
    """
    if not form.infinite:
        x = x[~(x.abs() > E4M3_OVERFLOWS_ABOVE)]  # NaN stays
    theirs = x.to(TORCH[form])
    width = torch.uint8 if form.bits == 8 else torch.int16
    bits = theirs.view(width).long() & (2**form.bits - 1)
    bits = torch.where(theirs.float().isnan(), -1, bits)
    return int((encode(round_to(x, form), form) != bits).sum())


# ---- blocks that share a scale


def _by_block(x: Tensor, block: int, rounded: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a function to `x` as rows of `block` neighbours along the last dimension."""
    if x.shape[-1] % block:
        raise ValueError(f"the last dimension, {x.shape[-1]}, does not divide into blocks of {block}")
    return rounded(x.reshape(-1, block)).reshape(x.shape)


def to_mxfp8(x: Tensor, form: Format = E4M3, round_up: bool = False) -> Tensor:
    """Microscaling: 32 neighbours share a power of two (E8M0, 8 bits); 8.25 bits for each number.

    The standard takes the exponent of the block's largest number, minus that of the format's largest. What then lies
    above the format's largest number saturates: up to an eighth of the largest number is lost. `round_up` takes the
    next power of two where that would happen.

    Args:
        x: float32, (..., a multiple of 32).

    Returns: float32 of the same shape. Rouhani et al. 2023, section 4; OCP Microscaling v1.0, section 6.3.
    """

    def rounded(rows: Tensor) -> Tensor:
        peak = rows.abs().amax(1, keepdim=True).double()
        exponent = torch.frexp(peak)[1].long() - torch.frexp(torch.tensor(form.largest))[1].long()
        if round_up:
            exponent = exponent + (peak > form.largest * power_of_two(exponent)).long()
        scale = power_of_two(torch.where(peak > 0, exponent, 0).clamp(-127, 127))
        return (round_to(rows / scale, form, overflow="saturate") * scale).float()

    return _by_block(x, 32, rounded)


def to_nvfp4(x: Tensor) -> Tensor:
    """NVFP4: 16 neighbours share a scale in e4m3, and the tensor one in fp32; 4.5 bits for each number.

    Args:
        x: float32, (..., a multiple of 16).

    Returns: float32 of the same shape.
    """
    largest = E2M1.largest * E4M3.largest
    whole = (x.abs().max().double() / largest).float().double()
    whole = torch.where(whole > 0, whole, 1.0)

    def rounded(rows: Tensor) -> Tensor:
        peak = rows.abs().amax(1, keepdim=True)
        scale = round_to(peak / (E2M1.largest * whole), E4M3, overflow="saturate") * whole
        safe = torch.where(scale > 0, scale, 1.0)
        result = round_to(rows / safe, E2M1, overflow="saturate") * safe
        return torch.where(scale > 0, result, 0.0).float()

    return _by_block(x, 16, rounded)


def to_scaled(x: Tensor, form: Format) -> Tensor:
    """One scale for the whole tensor, so that its largest number becomes the format's; float32 to float32."""
    peak = x.abs().max().double()
    scale = torch.where(peak > 0, peak / form.largest, 1.0)
    return (round_to(x / scale, form, overflow="saturate") * scale).float()


def noise(x: Tensor, rounded: Tensor) -> float:
    """Root mean square of the rounding error, as a share of that of `x`."""
    return float((rounded - x).double().square().mean().sqrt() / x.double().square().mean().sqrt())
