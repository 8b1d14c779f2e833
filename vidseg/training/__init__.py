"""Training trackers of the engine: streaming clips through the very engine that tracks."""
