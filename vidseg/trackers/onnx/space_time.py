"""Space-time models over exported graphs; see `vidseg.export.space_time` for what these take and give."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vidseg.trackers.model import Features
from vidseg.trackers.onnx.exported import ExportedMemoryModel
from vidseg.trackers.onnx.graphs import Graphs
from vidseg.trackers.space_time.decoder import DecodedMaps, in_order, joined
from vidseg.trackers.space_time.video_model import SpaceTimeModel


class OnnxSpaceTimeModel(ExportedMemoryModel, SpaceTimeModel):
    """A `MemoryModel` whose learned parts compute in onnxruntime; it has no weights of its own."""

    def __init__(self, graphs: Graphs) -> None:
        # The parent's parts are not made: graphs take their place.
        nn.Module.__init__(self)
        facts = graphs.facts
        graphs.require("image_encoder", "reading", "remembering", "decoder")
        if facts.get("prompt_decoder"):
            graphs.require("prompt_decoder")
        self._graphs = graphs
        self.image_size = facts["image_size"]
        self.key_channels = facts["key_channels"]
        self.value_channels = facts["value_channels"]
        self.context_channels = facts["context_channels"]
        self.prompt_passes = facts["prompt_passes"]
        for name in ("no_memory", "no_prompt", "no_object"):
            self.register_buffer(name, torch.tensor(facts[name]), persistent=False)
        self.reading = _Reading(graphs)  # type: ignore[assignment]
        self.decoder = _Decoder(graphs)  # type: ignore[assignment]
        self.prompt_decoder = _PromptDecoder(graphs) if facts.get("prompt_decoder") else None  # type: ignore[assignment]

    def encode_batch(self, images_b3ss: Tensor) -> Features:
        top, *finer = self._graphs.run("image_encoder", image=images_b3ss)
        return Features(finer[::-1], top)

    def remembered(self, context_rchw: Tensor, patches_rchw: Tensor, marks_rchw: Tensor) -> Tensor:
        seen = joined([context_rchw, patches_rchw, marks_rchw])
        return self._graphs.run("remembering", seen=seen)[0]


class _Reading(nn.Module):
    """`vidseg.trackers.space_time.label_reading.LabelReading` over its graph."""

    def __init__(self, graphs: Graphs) -> None:
        super().__init__()
        self._graphs = graphs

    def forward(
        self, keys_rnd: Tensor, memory_rmd: Tensor, values_rme: Tensor, is_read_rm: Tensor | None = None
    ) -> Tensor:
        if is_read_rm is not None:
            # The graph reads all tokens. Of those that an object does not read nothing is summed up, and one
            # more channel says what share the others have.
            is_read = is_read_rm[..., None].to(values_rme)
            read = self(keys_rnd, memory_rmd, torch.cat((values_rme * is_read, is_read), dim=2))
            return read[..., :-1] / read[..., -1:]
        rows = values_rme.shape[0]
        if keys_rnd.shape[0] == 1 and memory_rmd.shape[0] == 1:
            side_by_side = values_rme.transpose(0, 1).flatten(1)[None]
            read_1nf = self._run(keys_rnd, memory_rmd, side_by_side)
            return read_1nf[0].unflatten(1, (rows, -1)).transpose(0, 1)
        return self._run(keys_rnd.expand(rows, -1, -1), memory_rmd.expand(rows, -1, -1), values_rme)

    def _run(self, keys: Tensor, memory: Tensor, values: Tensor) -> Tensor:
        return self._graphs.run("reading", keys=keys, memory=memory, values=values)[0]


class _Decoder(nn.Module):
    """`vidseg.trackers.space_time.decoder.LabelDecoder` over its graph."""

    def __init__(self, graphs: Graphs) -> None:
        super().__init__()
        self._graphs = graphs

    def forward(
        self,
        memory_rchw: Tensor,
        memory_maps_rmhw: Tensor,
        likeness_rkhw: Tensor,
        prompt_rchw: Tensor,
        prompt_maps_rmhw: Tensor,
        context_1chw: Tensor,
        fine: Sequence[Tensor],
    ) -> DecodedMaps:
        fine_2, fine_4 = fine
        return DecodedMaps(
            *self._graphs.run(
                "decoder",
                read=joined([memory_rchw, prompt_rchw]),
                maps=joined(in_order(memory_maps_rmhw, prompt_maps_rmhw)),
                likeness=likeness_rkhw,
                context=context_1chw,
                fine_2=fine_2,
                fine_4=fine_4,
            )
        )


class _PromptDecoder(nn.Module):
    """`vidseg.trackers.space_time.prompt_decoder.PromptDecoder` over its graph."""

    def __init__(self, graphs: Graphs) -> None:
        super().__init__()
        self._graphs = graphs

    def forward(
        self,
        keys_1chw: Tensor,
        context_1chw: Tensor,
        maps: Sequence[Tensor],
        drawn_rchw: Tensor,
        so_far_rmhw: Tensor,
    ) -> tuple[Tensor, Tensor]:
        fine_2, fine_4, map_16, map_32 = maps
        logits, ious = self._graphs.run(
            "prompt_decoder",
            keys=keys_1chw,
            context=context_1chw,
            fine_2=fine_2,
            fine_4=fine_4,
            map_16=map_16,
            map_32=map_32,
            drawn=drawn_rchw,
            so_far=so_far_rmhw,
        )
        return logits, ious
