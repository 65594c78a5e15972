"""What draws in this week: one module for each page."""
