"""Masks of single pictures: `vidseg segment` and `vidseg everything`, on a picture or a folder of pictures.

pictures   which pictures there are, and reading one
masks      the objects of one picture, and its label map
formats    what is written of each picture, and of all together
folder     the output folder: what is in it already, whom it belongs to
run        picture by picture: what is done is skipped, a bad picture takes no other down
segment    objects by prompts
everything objects by a sampler
"""
