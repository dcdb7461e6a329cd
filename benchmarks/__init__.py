"""Compares the speed of gpt_classifier with alternatives, on the same machine, data and number of epochs."""
