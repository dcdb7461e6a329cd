"""Language-model pretraining on texts without labels."""
