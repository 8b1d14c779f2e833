"""Models that run in onnxruntime: the engine, banks, policies, framings and outputs stay as they are.

graphs       the exported files, opened and checked
model        the parts of SAM 2's family as a `MemoryModel`
image_model  image models
space_time   vidseg-nano's kind
build        the tracker of a YAML of `kind: onnx`
"""
