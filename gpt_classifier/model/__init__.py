"""The network: from token ids to logits; knows nothing about data files, training or Lightning."""
