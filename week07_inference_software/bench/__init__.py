"""Experiments of this week that take longer than a page may; their results lie beside them."""
