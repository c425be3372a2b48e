"""A bench: tasks of the shelf asked of encoders, aggregators and fusions, each a run folder, and what they show together."""
