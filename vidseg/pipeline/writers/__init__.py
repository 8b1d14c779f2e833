"""Writers: what `track` leaves in its folder. `vidseg.pipeline.formats` is the table of all formats."""

from vidseg.pipeline.writers.contract import FrameMasks as FrameMasks
from vidseg.pipeline.writers.contract import Writer as Writer
from vidseg.pipeline.writers.finished import Masklets as Masklets
from vidseg.pipeline.writers.finished import VideoDescription as VideoDescription
from vidseg.pipeline.writers.masklets import read_masklets as read_masklets
