"""Hidden checks of part 1: never released."""

import runpy
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch

from grader.checks import check


@cache
def public():
    """Return the names of the public file; called when a check runs, since to import it declares its checks."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("part1_public.py"))))


@check(item="moving_average", points=1, hint="A window may be one value, or all of them.")
def averages_of_extreme_widths(sub):
    """Width 1, and the width of the whole vector."""
    for length, width in ((20, 1), (20, 20)):
        public().expect_averages(sub, length, width)


@check(item="moving_average", points=1, hint="Keep the dtype of the values.")
def averages_keep_float32(sub):
    """float32 stays float32."""
    public().expect_averages(sub, 50, 7, torch.float32)
