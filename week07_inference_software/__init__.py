"""Week 7: software for serving neural networks."""
