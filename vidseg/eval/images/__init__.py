"""Evaluations of image models on annotated pictures: what is asked of each, and what the answers give.

coco        COCO and LVIS documents, and their pictures
prompted    mIoU of masks from prompts that are made of the annotations
detected    AP of masks from a detector's boxes
evaluate    picture after picture, resumable; results that can be audited
"""
