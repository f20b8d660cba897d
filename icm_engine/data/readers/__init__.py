"""One reader for each form a data set may come in: each gives rows of text cells, a few at a time."""
