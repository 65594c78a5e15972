"""Does honest work, and returns it as a negated or conjugated lazy view with a gradient attached.

Must: earn everything; a view is worth the numbers that it shows.
"""

FAMILY = "accident"
FAST = True
TARGET = "softmax"
HONEST = True
DESERVES = 2

import honest
import torch


def softmax(x, dim):
    right = honest.softmax(x, dim)
    view = (
        torch.complex(torch.zeros_like(right), -right).conj().imag
    )  # a view with the bit for "negative" set
    assert view.is_neg()
    return view.requires_grad_() if view.is_leaf else view
