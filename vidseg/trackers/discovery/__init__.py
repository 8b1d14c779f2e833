"""Discovery: objects of a video are found without prompts, and followed by any tracker.

discovery   when to look, what is kept, what is forgotten: `Discovery`
settings    its settings
finding     what a way of finding objects promises
sampled     by a sampler, which asks a model all over the frame
detected    by a detector, which draws boxes
looking     the picture of a frame as a sampler asks it, on features that tracking made where it can
comparing   masks against masks: known, inside, the same
scene       the colours of frames, by which a cut is noticed

Nothing is imported here: settings and scene cuts are needed where no model, and so no torch, is loaded.
"""
