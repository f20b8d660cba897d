"""`python -m sample_data.make` makes the data sets; `python -m sample_data.make.train` trains the model."""

from sample_data.make.make_data import main

if __name__ == "__main__":
    main()
