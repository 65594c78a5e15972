"""What week 7 shows as a running server; `make services` starts it."""
