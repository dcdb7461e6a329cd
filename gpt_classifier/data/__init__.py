"""Labelled texts from their sources to batches; knows nothing about models."""
