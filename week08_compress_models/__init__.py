"""Week 8: optimising models for faster inference."""
