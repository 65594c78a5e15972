"""Measurements of week 6 that take longer than a page may, each with its recorded result beside it."""
