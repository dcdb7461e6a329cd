"""Decisions -> scores that carry their uncertainty, beside those of baselines."""
