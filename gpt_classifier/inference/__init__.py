"""Using a trained model, without Lightning: classifying, storing, tracing."""
