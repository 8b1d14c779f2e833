"""Memory encoder, compressors, the bounded bank and its policies, memory attention."""
