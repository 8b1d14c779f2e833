"""`vidseg compress`: smaller and faster models, made of those that are there.

command      the command, which knows the ways
eight_bits   int8
"""
