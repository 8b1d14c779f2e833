"""Trackers whose model runs in onnxruntime: the engine, banks, policies and outputs stay as they are.

graphs   the exported files, opened and checked
model    the parts of SAM 2's family as a `MemoryModel`
build    the tracker of a YAML of `kind: onnx`
"""
