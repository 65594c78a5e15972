"""What draws, for the companions."""
