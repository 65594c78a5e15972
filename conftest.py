"""For all tests: a slow or busy machine makes anything slow, and that is no finding."""

import os

from hypothesis import settings

settings.register_profile("course", deadline=None)
settings.load_profile("course")
# What ranks may take, see effdl.launch: so long that it only ends a hang.
os.environ.setdefault("EFFDL_DEADLINE", "600")
