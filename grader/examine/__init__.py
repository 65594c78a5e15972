"""Runs checks against a submission and reaches verdicts. Knows no notebook and no gradebook."""
