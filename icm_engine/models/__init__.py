"""Models: prompts in, label log-probabilities or text out. Only this room and `training` use a model runtime.

loading             directory, GGUF file or hub id -> model, tokenizer, LoRA adapter; never code from a model
gguf_header         the header of a GGUF file, and what is refused before loading
gguf_files          a GGUF file unpacked into memory, with the parts that transformers leaves out
tokenized_prompts   prompts as token ids that decode to the text shown; what fits, what encoding costs
prefix_tree         prompts -> tree of distinct prefixes -> model calls (pure)
attention           attention of many new tokens over a long cache, tree masks, the cache of one path
transformers_scorer the walk over the tree: extend, recurse, crop; float32 for the last projection
generator           text: chat templates, greedy or seeded samples, continuations of a line
server_client       HTTP with retries, the server's cache metrics, the tokenizer of its model
server_dialects     how each kind of server is asked, and where its answer has the numbers (pure)
server_scorer       the same prompts through a server, probed before use
"""
