"""Quantisation of image models and vidseg-nano to few bits after training, by pictures like those to come.

recording   what goes into layers and attention on those pictures, and how much it matters
steps       search for steps
calibrator  what a calibrator decides, and the plain one
table       the table of all calibrators
q_tiny_sam, ptq4sam, pq_sam
            calibrators from papers
pictures    the pictures with their prompts, and how much each number of an answer matters
subject     the model, fused, and what sets it to work on pictures
reconstruction
            has each block learn its rounding after that
compress    from a model and pictures to a folder that loads like any other
"""
