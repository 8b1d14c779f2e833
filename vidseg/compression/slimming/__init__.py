"""Slimming: channels of trained transformers are removed where they matter least (`vidseg compress --prune`).

widths         channels that go together, and how they are cut out of a state dict
vits, hiera, feed_forward   which ones the parts of our models have
parts          the table of these parts
importance     how much a channel matters: Taylor's first term, against a noisy teacher
alignment      what is left learns to give what the whole model gave
alternation    the two steps of SlimSAM, one after the other
command        `vidseg compress --prune`

Source: Chen et al., "SlimSAM: 0.1% Data Makes Segment Anything Slim" (arXiv:2312.05284).
"""
