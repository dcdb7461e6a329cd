"""Reports results in documents, tables and figures; computes none of them."""
