"""PicoSAM2: segments the object in the middle of a square of 96 pixels cut from the picture at its own scale.

network      the U-Net
answers      what a prompt asks of it, and what of its answers
image_model  the image model around it
framing      which square belongs to a prompt, and where its answer lies in the picture
build        the settings `model: {name: pico-sam2}`
"""
