"""Training trackers of the engine: clips stream through the same engine that tracks."""
