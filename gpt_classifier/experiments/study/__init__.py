"""Compares settings on the same rows, with seeds and folds."""
