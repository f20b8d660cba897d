"""The only rooms that know a model runtime: prompts in, label log-probabilities out."""
