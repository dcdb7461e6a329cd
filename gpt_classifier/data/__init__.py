"""Labelled text from its sources to batches; knows nothing about models."""
