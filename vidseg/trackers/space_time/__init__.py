"""A small model of the space-time memory kind, on the same engine and banks as the SAM 2 family."""
