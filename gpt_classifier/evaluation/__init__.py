"""Turning predictions into figures that carry their uncertainty."""
