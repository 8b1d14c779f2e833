"""`vidseg compress`: smaller and faster models, made of those that are there.

command      the command, which knows the ways
eight_bits   int8
slimming     fewer channels (SlimSAM)
source       the model that a way starts from, built and written with other settings
calibration  pictures and frames, and what the parts of a model take on them
cost         what it brought and cost
"""
