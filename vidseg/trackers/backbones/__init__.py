"""Backbones: images to feature maps. A backbone publishes its mode, channels and strides as data."""
