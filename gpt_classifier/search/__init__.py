"""Looks for the settings with which a configuration does best on the validation rows, by Optuna."""
