"""A student's kernel as data: compiled in the student's sandbox, launched and timed by a process of ours.

What crosses is PTX, the text that NVIDIA's driver compiles (NVIDIA, "Parallel Thread Execution ISA"), and a few
integers. `ptx` says which text is taken. `launching` lays the arguments of a launch into one block of memory, asks a
runner on the card to launch, and looks at the whole block when it comes back. `inside` is what runs in sandboxes: the
compiler and the interpreter beside the student's module, the runner beside nothing. So no code of a student's runs on
the host where a kernel is timed, and there is no cache, stream, timer or tensor there that it could put its own into.
"""
