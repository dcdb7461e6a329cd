"""One model on a page and over HTTP."""
