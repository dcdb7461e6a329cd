"""Compares the speed of this package with alternatives, on the same machine, data and number of epochs."""
