"""What draws in this week: `fewer_bits` for the lecture."""
