"""Text -> token ids; knows nothing about labels and networks."""
