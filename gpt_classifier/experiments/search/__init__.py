"""Looks for better settings with Optuna."""
