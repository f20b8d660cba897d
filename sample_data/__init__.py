"""Sample data sets and a sample model, with the programs that make them."""
