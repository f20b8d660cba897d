"""`python -m sample_data.make` makes all data sets; `python -m sample_data.make.train` trains the model."""

from sample_data.make import make_data, real

if __name__ == "__main__":
    given = make_data.parsed()
    make_data.make(given.folder, given.seed)
    real.make(given.folder, given.seed)
