"""A trained model as a service in one process: a page for people, JSON and CSV over HTTP for programs."""
