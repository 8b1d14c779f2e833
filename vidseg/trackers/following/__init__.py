"""Image models that follow videos, without having been trained for it.

tracker     an image segmenter behind the tracker contract
session     one video: prompts are answered by the image model, objects carried by a rule
rules       the rules by name, `following:` in a YAML
flow_prior  the rule that carries masks along the optical flow, and asks the model about them
nanosam     NanoSAM's own rule
frame       a frame that went through the encoder once
placement   where a picture lies on the model's low-res grid
token       what an object looks like to the model, as one vector
objects     what is remembered of an object
masks       agreement of masks, and the prompts that say where they are
"""

from __future__ import annotations

from vidseg.trackers.following.rules import register_following as register_following
from vidseg.trackers.following.tracker import FollowingTracker as FollowingTracker
