"""Short clips with one object's masks, made on the fly from stills, videos and noise."""

from vidseg.training.data.clip import Clip
from vidseg.training.data.dataset import ClipDataset, Maker
from vidseg.training.data.labelled import LabelledStill, StillMaker
from vidseg.training.data.maker import ClipMaker
from vidseg.training.data.settings import ClipSettings
from vidseg.training.data.sheet import contact_sheet

__all__ = [
    "Clip",
    "ClipDataset",
    "ClipMaker",
    "ClipSettings",
    "LabelledStill",
    "Maker",
    "StillMaker",
    "contact_sheet",
]
