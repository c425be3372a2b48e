"""Learners, the one training loop, the evaluation protocol and the study."""
