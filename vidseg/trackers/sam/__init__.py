"""Image models of the first SAM's kind: an image encoder, a prompt encoder and a mask decoder.

build        the settings `model: {name: sam}`, and the model that they describe
answers      which candidate answers a prompt
image_model  the model
"""
