"""Fitting a model with Lightning."""
