"""A recurrent decoder with additive attention, whose scores are kept or computed again: Echo in small.

Zheng, Vijaykumar and Pekhimenko, *Echo: Compiler-based GPU Memory Footprint Reduction for LSTM RNN Training*,
ISCA 2020.
"""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Decoder(nn.Module):
    """Reads T vectors one after the other; in each step it attends to S states of an encoder (Bahdanau et al. 2015).

    `again`: "nothing" keeps all, "scores" computes the scores of the attention again in the backward pass, "steps"
    every step as a whole.
    """

    def __init__(self, width: int, again: str = "nothing"):
        super().__init__()
        if again not in ("nothing", "scores", "steps"):
            raise ValueError(f"again={again!r} is none of nothing, scores and steps")
        self.again = again
        self.cell = nn.GRUCell(2 * width, width)
        self.of_query = nn.Linear(width, width, bias=False)
        self.of_states = nn.Linear(width, width)
        self.weigh = nn.Linear(width, 1, bias=False)

    def scores(self, query: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """(batch, width) and (batch, S, width) to (batch, S). Small in, small out, and large in between."""
        return self.weigh(torch.tanh(query[:, None] + keys))[..., 0]

    def step(
        self, x: torch.Tensor, hidden: torch.Tensor, states: torch.Tensor, keys: torch.Tensor
    ) -> torch.Tensor:
        """The next hidden vector, (batch, width)."""
        query = self.of_query(hidden)
        if self.again == "scores":
            scores = checkpoint(self.scores, query, keys, use_reentrant=False)
        else:
            scores = self.scores(query, keys)
        context = (scores.softmax(-1)[:, None] @ states)[:, 0]
        return self.cell(torch.cat([x, context], -1), hidden)

    def forward(self, inputs: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Inputs (batch, T, width) and states (batch, S, width) to hidden vectors (batch, T, width)."""
        keys, hidden, outs = self.of_states(states), states[:, -1], []
        for x in inputs.unbind(1):
            if self.again == "steps":
                hidden = checkpoint(self.step, x, hidden, states, keys, use_reentrant=False)
            else:
                hidden = self.step(x, hidden, states, keys)
            outs.append(hidden)
        return torch.stack(outs, 1)
