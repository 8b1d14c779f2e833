"""Distillation: a small tracker learns from a large one, on the same clips and prompts."""
