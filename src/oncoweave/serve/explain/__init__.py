"""What a run's network attends to, beside what its output does without it: tables, one page, and pictures of named patients."""
