"""Export: the parts of a model as ONNX graphs or torch.export packages, which run without vidseg.

parts      what a part is: a module, its inputs and outputs, and which sizes are free
sam2       the parts of SAM 2's family
sam        those of image models
space_time those of vidseg-nano
models     which models can be exported
write      parts to files, with the facts that whoever runs them needs
protos     what is asked of ONNX's protobufs and changed in them
comparison how a model is compared with what was made of it
int8       some parts in eight bits, by a calibration video
"""
