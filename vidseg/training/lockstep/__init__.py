"""Training of space-time models on a GPU: all rows of a batch go in step, in tensors of fixed shape."""
