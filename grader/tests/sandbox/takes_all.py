"""A program of a zygote under test, in which every module counts as installed."""

from grader.sandbox import preload

preload._is_installed = lambda spec: spec is not None


def serve(examiner, order, submission):
    """Do nothing."""
