"""Results for people: the report."""
