"""Many fits by one plan: studies that compare settings, searches for better ones."""
