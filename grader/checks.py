"""What the author of a check imports: `from grader.checks import check, expect_close`.

A check runs in the examiner, the trusted process. It sends inputs to workers, gets raw tensors and plain data back,
and decides there, with helpers that no submission can reach. It is called with one argument, a `Submission`.
"""

from grader.examine.checks import (
    Failed,
    Line,
    StudentError,
    Undecided,
    check,
    gather,
    not_measured,
    record,
    tell,
)
from grader.examine.expect import (
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_equal,
    expect_lines,
    expect_related,
    expect_slope_at_most,
    expect_traffic,
)
from grader.examine.kernels.launching import Launch, Out
from grader.examine.rng import Rng
from grader.examine.run import PerRank, Run
from grader.examine.service.exchange import Load, Reply
from grader.examine.service.grpc import GrpcAnswer, read_fields, write_fields
from grader.examine.service.http1 import Answer
from grader.examine.service.questions import Ended, Grpc, Http
from grader.examine.service.serve import Server
from grader.examine.service.stub import Batch, Model
from grader.examine.submission import Submission
from grader.examine.suite.mutants import Mutant, load_mutants
from grader.examine.suite.trial import Kills, Suite, Tried

__all__ = [
    "Answer",
    "Batch",
    "Ended",
    "Failed",
    "Grpc",
    "GrpcAnswer",
    "Http",
    "Kills",
    "Launch",
    "Line",
    "Load",
    "Model",
    "Mutant",
    "Out",
    "PerRank",
    "Reply",
    "Rng",
    "Run",
    "Server",
    "StudentError",
    "Submission",
    "Suite",
    "Tried",
    "Undecided",
    "check",
    "expect",
    "expect_at_least",
    "expect_at_most",
    "expect_close",
    "expect_equal",
    "expect_lines",
    "expect_related",
    "expect_slope_at_most",
    "expect_traffic",
    "gather",
    "load_mutants",
    "not_measured",
    "read_fields",
    "record",
    "tell",
    "write_fields",
]
