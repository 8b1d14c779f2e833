"""Tracking in a close-up: the part of the picture around the objects fills the model's input."""
