"""What trackers share that carry masks from each frame into the next one: `flow`, and image models on videos.

session  the bookkeeping of a video: prompts, objects, frames ahead, files
state    all that such a session remembers, and how it is written and read back
motion   optical flow, and maps carried along it
grid     the grid on which pictures are compared
"""
