"""A submission that serves: its processes stay in the sandbox, and the examiner is a client outside of it."""
