"""Times this package beside the obvious alternatives, on the same machine, data and number of epochs."""
