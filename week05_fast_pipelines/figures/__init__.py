"""What draws in this week."""
