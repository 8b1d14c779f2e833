"""Discovery: objects of a video are found without prompts, and followed by any tracker.

discovery   when to look, what is new, what is kept: `Discovery`
settings    its settings
looking     the picture of a frame as a sampler asks it, on features that tracking made where it can
comparing   masks against masks: known, inside, the same
scene       the colours of frames, by which a cut is noticed
"""

from vidseg.trackers.discovery.discovery import Discovery as Discovery
from vidseg.trackers.discovery.settings import DiscoverySettings as DiscoverySettings
