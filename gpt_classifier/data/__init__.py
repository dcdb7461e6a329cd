"""Labelled texts from their sources to batches."""
