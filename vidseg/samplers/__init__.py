"""Samplers find all objects of a picture by asking a model many prompts and keeping the good answers.

table          samplers by name; `propose` and `register_sampler`
grid           a point in every tile, and crops (SAM)
two_round      a coarse grid, then what it left unexplained (TinySAM)
peaks          where a small trained network says that prompts pay (AoP-SAM, Lite-SAM)
prompt_head    that network
boxes          one mask for each box of a detector (MobileSAMv2)
selection      which of many masks answer a box, points or a text (FastSAM)
asking         prompts in chunks that fit into memory; which masks are good enough
picture        what a sampler asks of a picture: it knows no model
proposals      masks that are held as bits while a sampler works
found          the public result
nms, points, settings, small_regions   the parts they share

Samplers stand below models and know none of them: an embedding passes itself as a `PromptedPicture`. Torch is
imported as a sampler begins to ask, so that names and settings can be checked without it.
"""

from vidseg.samplers.asking import Asking as Asking
from vidseg.samplers.found import Found as Found
from vidseg.samplers.picture import FeatureMap as FeatureMap
from vidseg.samplers.picture import PromptedPicture as PromptedPicture
from vidseg.samplers.proposals import CutMask as CutMask
from vidseg.samplers.proposals import Proposal as Proposal
from vidseg.samplers.settings import PointSettings as PointSettings
from vidseg.samplers.table import SAMPLERS as SAMPLERS
from vidseg.samplers.table import Sampler as Sampler
from vidseg.samplers.table import everything as everything
from vidseg.samplers.table import propose as propose
from vidseg.samplers.table import register_sampler as register_sampler
