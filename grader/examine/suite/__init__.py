"""A student's test suite under test: it runs against right implementations and against mutants of one.

No test learns what it runs against. The suite has a worker of its own; the implementation has another one, and what
passes between them are calls of public functions, plain data and tensors. So there is no source, no bytecode, no
address and no file to look at: whoever tells a mutant from a right implementation has seen what it does. See
`grader.examine.suite.trial` for how that becomes a verdict.
"""

PROGRAMS = {"suite": "grader.examine.suite.inside:serve"}
"""What a zygote must know so that its workers run suites: see `grader.sandbox.zygote.Zygote`."""
