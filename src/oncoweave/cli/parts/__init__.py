"""What verbs are made of, where one module would be too long: options, and verbs below a verb."""
