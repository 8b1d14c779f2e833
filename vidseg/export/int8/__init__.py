"""Exported models in eight bits, calibrated by a clip: `compress_int8`.

`compress` exports, calibrates and reports · `quantise` makes one graph of eight bits · `equalisation` (with
`channel_groups`) and `rounding` lower what that costs · `watch` tells what passes through a graph on frames.
"""
