"""From frames to results: readers, prompts, the tracking loop, writers, the command line."""
