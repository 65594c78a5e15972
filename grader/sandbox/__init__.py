"""Isolates a process by the kernel's own means, and talks with it. Knows no course and no check."""
