"""The kinds of class embeddings W, by name; without PyTorch, for options."""

# By the value of --embedding-type: whether W is trained. Blocks share nothing where it is not.
IS_TRAINED = {"one-hot": False, "learned": True, "prototype": True, "own": False}
