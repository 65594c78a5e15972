"""What the tests of week 6 share."""

import matplotlib

matplotlib.use("Agg")
