"""A classifier of handwritten digits: what was one script, as functions that can be tested."""
