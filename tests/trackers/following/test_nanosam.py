"""The rule `nanosam` against NanoSAM's arithmetic, written down once more in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from support.oracle import Oracle
from vidseg.trackers.contract import Frame
from vidseg.trackers.following import FollowingTracker
from vidseg.trackers.image.nano_framing import NanoFraming
from vidseg.trackers.image.segmenter import ImageSegmenter
from vidseg.trackers.model import Candidates, Features

HEIGHT, WIDTH, CHANNELS, CELLS, SIDE = 90, 160, 6, 16, 64


class Scripted(Oracle):
    """Makes random features, and answers every prompt with random masks; it writes down what it was asked."""

    image_size = 4 * SIDE
    low_res_size = SIDE

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)
        self.features: list[Tensor] = []
        self.asked: list[tuple[Tensor, Tensor | None]] = []
        self.answered: list[Tensor] = []

    def encode_batch(self, images_b3ss: Tensor) -> Features:
        self.features.append(torch.randn(1, CHANNELS, CELLS, CELLS, generator=self.generator))
        return Features([], self.features[-1])

    def candidates(
        self, features: Features, conditioned_bchw: Tensor, *, points_bp2: Tensor, **said: Any
    ) -> Candidates:
        self.asked.append((points_bp2, said["previous_logits_bhw"]))
        cells = torch.randn(1, 4, CELLS, CELLS, generator=self.generator)
        self.answered.append(F.interpolate(cells, size=(SIDE, SIDE), mode="bilinear"))
        return Candidates(
            self.answered[-1], torch.tensor([[0.2, 0.4, 0.9, 0.3]]), torch.zeros(1, 4, 1), torch.ones(1)
        )


def fitted(features: Tensor, logits: Tensor) -> np.ndarray:
    target = F.interpolate(logits[None, None], size=(CELLS, CELLS), mode="area").flatten().numpy()
    return np.linalg.lstsq(features[0].flatten(1).T.numpy(), target, rcond=None)[0]


def test_it_asks_and_remembers_as_nanosam_does() -> None:
    model = Scripted()
    segmenter = ImageSegmenter("scripted", model, NanoFraming(model.image_size))
    session = FollowingTracker(segmenter, {"name": "nanosam"}).start()
    session.prompt(1, points=[[40, 30]])
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    session.step(Frame(0, 0.0, image))
    token = fitted(model.features[0], model.answered[0][0, 2])
    for index in range(1, 6):
        result = session.step(Frame(index, index / 24, image))
        flat = torch.from_numpy((token @ model.features[index][0].flatten(1).numpy()).astype(np.float32))
        token_map = F.interpolate(flat.view(1, 1, CELLS, CELLS), size=(SIDE, SIDE), mode="bilinear")
        inside = token_map[..., : int(SIDE * HEIGHT / WIDTH), :]
        whole = F.interpolate(inside, size=(HEIGHT, WIDTH), mode="bilinear")[0, 0].numpy()
        ys, xs = np.nonzero(whole > 0)
        points, fed_back = model.asked[index]
        wanted = np.array([np.median(xs), np.median(ys)]) * model.image_size / WIDTH
        assert np.allclose(points[0, 0].numpy(), wanted, atol=1e-3)
        assert fed_back is not None
        assert torch.allclose(fed_back[0], token_map[0, 0], atol=1e-4)
        chosen = model.answered[index][0, 2]
        assert np.array_equal(result.low_res_logits[0], chosen.numpy())
        token = 0.995 * token + 0.005 * fitted(model.features[index], chosen)
