"""Week 9: experiment tracking, versioning and testing."""
