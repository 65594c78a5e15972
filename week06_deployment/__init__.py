"""Week 6: deployment of a model as a web application."""
