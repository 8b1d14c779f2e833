"""`vidseg compress`: smaller and faster models, made of those that are there.

command      the command, which knows the ways
eight_bits   int8
few_bits     fewer bits, simulated, for image models and vidseg-nano; the work is done in low_bits
slimming     fewer channels (SlimSAM)
supernet     fewer blocks and hidden units, within a budget of time (SuperSAM)
source       the model that a way starts from, built and written with other settings
original     that model with its pictures, and the folder that a smaller one is written to
calibration  pictures and frames, and what the parts of a model take on them
calls        calls of a part by itself, and how far two answers are apart
cost         what it brought and cost
"""
