"""Intervals, paired tests and resampling of numbers; needs nothing else of the package."""
