"""What a browser shows of strangers' work."""
