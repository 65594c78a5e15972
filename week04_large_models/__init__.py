"""Week 4: memory-efficient and model-parallel training."""
