"""Token ids -> hidden states -> logits; knows nothing about texts, classes and training."""
