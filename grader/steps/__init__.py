"""What a person does, a module per command."""
