"""Compares settings on the same data and says which differences in accuracy are statistically significant."""
