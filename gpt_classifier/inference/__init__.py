"""Using a trained model, without Lightning or pandas."""
