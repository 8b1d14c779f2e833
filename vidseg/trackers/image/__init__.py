"""Image models: encode a picture once, answer any number of prompts on it, without memory.

build      image models and framings by name; a YAML of `kind: image` to a segmenter
load       names to segmenters; `vidseg.load_image`
segmenter  pictures in, embeddings out
embedding  one encoded picture, and the prompts it answers
prompt     what is asked of a picture, checked
answer     what the decoder says, and what is chosen of it
framing    picture to model input, points to the model's pixels, logits back to the picture
"""
