"""Week 5: fast pipelines, and profiling deep learning code."""
