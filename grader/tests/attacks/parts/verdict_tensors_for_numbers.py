"""Answers with tensors and texts where numbers are asked for, deep in lists and dictionaries.

Must: earn nothing and get a sentence; a comparison that raises is no broken check.
"""

FAMILY = "verdict"
FAST = True
TARGET = "meter"

import torch


class Meter:
    def update(self, values):
        self.values = values

    def read(self):
        return [torch.zeros(3), "0.0"] if len(self.values) % 2 else ["nan", torch.tensor(True)]
