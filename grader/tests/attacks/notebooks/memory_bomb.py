"""Allocates 4 GiB and touches it.

Must: be stopped at its limit, alone.
"""

FAMILY = "harm"
STOCK = "would take the memory of this machine"

# %% mean
pieces = []
for _ in range(64):
    pieces.append(np.ones(8 << 20))
