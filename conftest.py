"""For all tests: a busy machine makes any Hypothesis example slow, and that is no finding."""

from hypothesis import settings

settings.register_profile("course", deadline=None)
settings.load_profile("course")
