"""Runs many settings on the same data and says which differences are more than chance."""
