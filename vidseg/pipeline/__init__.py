"""Frames in, results out: readers, prompts, the tracking loop, writers, the command line."""
