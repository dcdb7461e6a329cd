"""Searches with Optuna for the settings with which a configuration scores best on the validation rows."""
