"""The programs that make the sample data sets and train the sample model.

Reading order: claims (the world), annotators (who labels), tokenizer, corpus (documents), train, probe;
make_data writes the data sets; measure and evaluate give the figures of the model card.
"""
