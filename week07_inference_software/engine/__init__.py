"""A language-model engine to read in one sitting. Read in this order:

`model` (a Llama in plain functions), `kernels` (the usual ones, and those that see one shape only), `blocks` (the
paged cache's book-keeping), `sampling`, `scheduler` (who computes what in the next step), `drafts` (speculative
decoding), `engine` (the loop that puts them together).
"""

from week07_inference_software.engine.blocks import BlockPool, OutOfBlocks
from week07_inference_software.engine.engine import Engine, Report
from week07_inference_software.engine.kernels import Invariant, Usual
from week07_inference_software.engine.model import Config, Llama
from week07_inference_software.engine.sampling import Sampling
from week07_inference_software.engine.scheduler import Request, Scheduler, Sequence

__all__ = [
    "BlockPool",
    "Config",
    "Engine",
    "Invariant",
    "Llama",
    "OutOfBlocks",
    "Report",
    "Request",
    "Sampling",
    "Scheduler",
    "Sequence",
    "Usual",
]
