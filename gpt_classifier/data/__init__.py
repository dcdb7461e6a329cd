"""Labelled texts from their sources to batches. Independent of models."""
