"""Measures of masks: J (region), F (boundary), and the statistics that benchmarks make of them."""

from vidseg.eval.metrics.boundary import boundary_radius as boundary_radius
from vidseg.eval.metrics.coco import coco_ap as coco_ap
from vidseg.eval.metrics.frame import FramePair as FramePair
from vidseg.eval.metrics.masks import boundary_f as boundary_f
from vidseg.eval.metrics.masks import mask_miou as mask_miou
from vidseg.eval.metrics.masks import region_j as region_j
