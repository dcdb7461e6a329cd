"""Turning predictions into scores that carry their uncertainty."""
