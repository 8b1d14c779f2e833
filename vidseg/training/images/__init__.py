"""Distillation of image models, by the loop that trains trackers.

student        the model to train: a tracker of `kind: image` in training form
teacher        any image model, frozen, at its own input size
distillation   the losses of a batch of pictures
masked         masked image pretraining (SAMI)
"""
