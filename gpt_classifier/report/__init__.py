"""Renders the results of a test for people, as a page and as plain text, from the files that a test wrote."""
