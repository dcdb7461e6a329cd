"""What was found, told in documents, tables and figures; computes nothing of it."""
