"""A trained model for other programs, compared with the original before it is handed over."""
