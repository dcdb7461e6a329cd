"""Logits -> a decision: the rule, how it is fitted, how far its probabilities can be trusted."""
