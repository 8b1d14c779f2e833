"""Feature pyramids of the library timm, by the names that it has for them.

Source: github.com/huggingface/pytorch-image-models (Apache-2.0; the extra `timm`). Its models keep their
names of weights, under `body`. Where timm downloads weights, their licences are their authors'.
"""

from __future__ import annotations

import difflib
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vidseg.errors import ConfigError
from vidseg.trackers.image_encoder import STRIDES
from vidseg.validation import Strict


class TimmSettings(Strict):
    """Settings of `TimmFeatures` in a YAML."""

    model: str
    """A name that `timm.list_models()` has: 'efficientformerv2_s0'."""
    mode: Literal["pyramid", "single-scale"] = "pyramid"
    """'pyramid': the maps at strides 4, 8, 16 and 32; 'single-scale': the last one at stride 16."""
    pretrained: bool = False
    """Whether timm downloads its weights; else they are random, until others are loaded."""
    image_size: int = Field(default=1024, ge=32)
    """Side of the images, for models that are built for one size; left out, it is the tracker's."""


class TimmFeatures(nn.Module):
    """A model of timm as a backbone; see `vidseg.trackers.image_encoder.Backbone`.

    Args:
        body: what timm makes with `features_only=True`.
        levels: which of its maps are taken.
        mode: whether they are a pyramid, or one map.
    """

    def __init__(self, body: Any, levels: list[int], mode: Literal["pyramid", "single-scale"]) -> None:
        super().__init__()
        self.mode: Literal["pyramid", "single-scale"] = mode
        self.body = body
        self._levels = tuple(levels)
        info = body.feature_info
        self.channels: tuple[int, ...] = tuple(info.channels()[level] for level in levels)
        """Channels of the returned maps, fine to coarse."""
        self.strides: tuple[int, ...] = tuple(info.reduction()[level] for level in levels)
        """Their strides in pixels of the image."""
        self._has_channels_last = str(getattr(body, "output_fmt", None) or "NCHW").endswith("NHWC")

    @classmethod
    def of(cls, settings: TimmSettings) -> TimmFeatures:
        """The model of this name.

        Raises:
            ConfigError: timm is not installed or has no such model, or the model makes no maps at the strides
                of its mode.
        """
        body = _body(settings)
        strides = body.feature_info.reduction()
        wanted = STRIDES[settings.mode]
        if not set(wanted) <= set(strides):
            raise ConfigError(
                f"timm's {settings.model} makes maps at strides {strides}, not {list(wanted)}",
                hint="mode: single-scale takes the one at stride 16" if 16 in strides else None,
            )
        # Of several maps at one stride the last one has gone through most layers.
        levels = [len(strides) - 1 - strides[::-1].index(stride) for stride in wanted]
        return cls(body, levels, settings.mode)

    def forward(self, images_b3ss: Tensor) -> list[Tensor]:
        """Feature maps, fine to coarse: B x channels[i] x S / strides[i] x S / strides[i]."""
        maps = self.body(images_b3ss)
        kept = [maps[level] for level in self._levels]
        return [x.permute(0, 3, 1, 2) for x in kept] if self._has_channels_last else kept

    @torch.no_grad()
    def fuse(self) -> TimmFeatures:
        """A copy for inference, in which branches are folded where timm's model can do that."""
        from timm.models import reparameterize_model

        fused = TimmFeatures(reparameterize_model(self.body), list(self._levels), self.mode)
        return fused.eval().requires_grad_(False)


def _body(settings: TimmSettings) -> Any:
    try:
        import timm
    except ImportError:
        raise ConfigError("the backbone 'timm' needs timm", hint='pip install "vidseg[timm]"') from None
    name = settings.model
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        guess = f"; did you mean '{near[0]}'?" if near else ""
        raise ConfigError(f"timm has no model '{name}'{guess}", hint="timm.list_models() names them all")
    config = timm.get_pretrained_cfg(name)
    is_fixed = config is not None and config.fixed_input_size
    size: dict[str, Any] = {"img_size": settings.image_size} if is_fixed else {}
    try:
        return timm.create_model(name, features_only=True, pretrained=settings.pretrained, **size)
    except (OSError, RuntimeError) as error:
        if not settings.pretrained:
            raise
        line = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise ConfigError(
            f"timm has no weights for {name} ({line})", hint="pretrained: false makes random ones"
        ) from None
