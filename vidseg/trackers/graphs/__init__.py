"""Parts of a model recorded as CUDA graphs: a frame is a few launches instead of hundreds."""
