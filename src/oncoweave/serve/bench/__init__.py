"""The bench: tasks run one by one, and one page of what they show together."""
