"""SAM 2 and its family: the image model, the video model, and their heads."""
