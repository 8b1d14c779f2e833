"""Trackers on the engine: SAM 2 and its family, behind the tracker contract."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from typing import Any, Literal, overload

import torch

from vidseg.errors import ConfigError
from vidseg.memory.attention import use_kernels
from vidseg.memory.bank import BankPolicy
from vidseg.memory.read_choice import choose_reads
from vidseg.trackers.build import build_model
from vidseg.trackers.close_up.session import CloseUpSession
from vidseg.trackers.contract import TrackerTraits
from vidseg.trackers.device import pick_device, use_channels_last
from vidseg.trackers.encoder_products import check_encoder_products, use_encoder_products
from vidseg.trackers.engine import Engine
from vidseg.trackers.exported import export_in_config
from vidseg.trackers.graphs.recorder import CudaRecorder
from vidseg.trackers.graphs.replays import Replays
from vidseg.trackers.load_weights import load_weights
from vidseg.trackers.low_bits.saved import install, require_float32
from vidseg.trackers.model import LooksCloser, MemoryModel, module_of, num_parameters
from vidseg.trackers.options import TrackerOptions
from vidseg.trackers.precision import choose_precision
from vidseg.trackers.session import EngineSession, SessionOptions
from vidseg.trackers.session_file import read_session, whole_session, write_session
from vidseg.trackers.settings import EngineSettings
from vidseg.trackers.weights import state_sha256
from vidseg.validation import parse

OF_THE_MACHINE = ("device", "dtype_reason")
"""Facts about a tracker that may differ where a session goes on."""


class EngineTracker:
    """A tracker on the engine; see `vidseg.trackers.contract.Tracker`."""

    def __init__(
        self,
        name: str,
        settings: EngineSettings,
        engine: Engine,
        options: SessionOptions,
        weights_sha256: str | None,
        *,
        dtype_reason: str | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.engine = engine
        self.options = options
        self.weights_sha256 = weights_sha256
        self.dtype_reason = dtype_reason

    @property
    def traits(self) -> TrackerTraits:
        model = self.engine.model
        return TrackerTraits(
            takes_decoded=model.takes_decoded,
            clicks_correct=model.clicks_correct,
            objects_compete=self.settings.objects_compete,
        )

    @classmethod
    def build(cls, name: str, config: Mapping[str, Any], asked: TrackerOptions) -> EngineTracker:
        """The tracker of a YAML, with weights.

        Raises:
            ConfigError: the configuration or an option is wrong, or the device is missing.
            CheckpointError: weights are missing or do not fit.
        """
        where = f"tracker '{name}'"
        asked.require_taken(TrackerOptions.model_fields, by=name, why={})
        settings = parse(EngineSettings, dict(config), where=where, error=ConfigError)
        if asked.image_size is not None:
            changed = {**dict(config), "image_size": asked.image_size}
            settings = parse(EngineSettings, changed, where=f"{where}, --image-size", error=ConfigError)
        settings = settings.with_options(asked, where)
        device = pick_device(asked.device)
        _check_graphs(asked, device, where)
        check_encoder_products(asked.encoder_products, device, where)
        model, policy = build_model(settings, where)
        check_close_up(settings, model, where)
        module = module_of(model)
        weights_sha256 = load_weights(module, name, asked, settings.weights)
        model.fuse()
        precision = choose_precision(asked.dtype, device, bfloat16_is_proven=settings.bfloat16_is_proven)
        if settings.low_bits is not None:
            require_float32(precision.dtype, where)
            install(module, settings.low_bits, settings.weights, weights_sha256, where)
        module.to(device=device, dtype=precision.dtype)
        if device.type == "cuda":
            use_channels_last(module)
        if asked.encoder_products:
            use_encoder_products(module, asked.encoder_products, precision.dtype, where)
        if asked.compile:
            model.compile_parts()
        elif asked.graphs:
            use_kernels(module)
            choose_reads(module, model.image_size)
            model.record_parts(Replays(CudaRecorder()))
        return cls.around(name, settings, model, policy, asked, weights_sha256, dtype_reason=precision.reason)

    @classmethod
    def around(
        cls,
        name: str,
        settings: EngineSettings,
        model: MemoryModel,
        policy: BankPolicy,
        asked: TrackerOptions,
        weights_sha256: str | None,
        *,
        dtype_reason: str | None = None,
    ) -> EngineTracker:
        """The tracker of a model that is ready to use, with the options that were asked for."""
        options = SessionOptions(
            non_overlap_masks=bool(asked.non_overlap_masks),
            remove_speck_area=asked.remove_speck_area or 0,
            keeps_corrections=settings.keeps_corrections,
            objects_compete=settings.objects_compete,
            corrections_condition=bool(asked.corrections_condition),
            clear_memory_around_corrections=bool(asked.clear_memory_around_corrections),
        )
        engine = Engine(model, policy, fill_hole_area=asked.fill_hole_area or 0)
        return cls(name, settings, engine, options, weights_sha256, dtype_reason=dtype_reason)

    @overload
    def start(
        self, num_frames: int | None = None, reverse: bool = False, *, keep_all: Literal[True]
    ) -> EngineSession: ...

    @overload
    def start(
        self, num_frames: int | None = None, reverse: bool = False, *, keep_all: bool = False
    ) -> EngineSession | CloseUpSession: ...

    def start(
        self, num_frames: int | None = None, reverse: bool = False, *, keep_all: bool = False
    ) -> EngineSession | CloseUpSession:
        """Begin a video.

        Args:
            keep_all: whether to forget nothing, so that frames may be visited in any order and corrected
                later; memory then grows with the video, as the official predictor's does.
        """
        session = EngineSession(
            self.engine,
            self.options,
            num_frames=num_frames,
            reverse=reverse,
            keep_all=keep_all,
            write=self._write,
        )
        # What is kept of all frames was seen from as many views; so these sessions see the whole picture.
        is_close = self.settings.close_up and not keep_all
        return CloseUpSession(session, write=self._write) if is_close else session

    def restore(self, path: str | PathLike[str]) -> EngineSession | CloseUpSession:
        tensors, facts = read_session(
            path, tracker=self.name, fingerprint=self.fingerprint(), device=str(self.engine.model.device)
        )
        with whole_session(path):
            session = self.start(facts["num_frames"], facts["reverse"], keep_all=facts["keep_all"])
            session.take_state(tensors, facts)
        return session

    def describe(self) -> dict[str, Any]:
        model = self.engine.model
        return {
            "name": self.name,
            "config": {"kind": "engine", **self.settings.model_dump(), **export_in_config(model)},
            "options": {**asdict(self.options), "fill_hole_area": self.engine.fill_hole_area},
            "weights_sha256": self.weights_sha256,
            "parameters": num_parameters(model),
            "device": str(model.device),
            "dtype": str(model.dtype).removeprefix("torch."),
            "dtype_reason": self.dtype_reason,
        }

    def fingerprint(self) -> str:
        """A digest of configuration, options, weights and type, which must be the same to go on with a
        session."""
        facts = {key: value for key, value in self.describe().items() if key not in OF_THE_MACHINE}
        if self.weights_sha256 is None:
            facts["weights_sha256"] = state_sha256(module_of(self.engine.model).state_dict())
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _write(self, session: EngineSession | CloseUpSession, path: str | PathLike[str]) -> None:
        tensors, facts = session.state()
        write_session(path, tracker=self.name, fingerprint=self.fingerprint(), tensors=tensors, facts=facts)


def check_close_up(settings: EngineSettings, model: MemoryModel, where: str) -> None:
    """Check that a model follows objects in a close-up, if its YAML says so.

    Raises:
        ConfigError: it does not.
    """
    if settings.close_up and not isinstance(model, LooksCloser):
        raise ConfigError(
            f"the model '{settings.model['name']}' does not follow objects in a close-up",
            where=where,
            hint="leave 'close_up' out",
        )


def _check_graphs(asked: TrackerOptions, device: torch.device, where: str) -> None:
    """Refuse to record graphs where there are none, or twice."""
    if asked.graphs and device.type != "cuda":
        raise ConfigError(
            f"CUDA graphs on the device '{device}'", where=where, hint="leave 'graphs' out, or --device cuda"
        )
    if asked.graphs and asked.compile:
        raise ConfigError("'graphs' and 'compile' at once", where=where, hint="choose one; both use graphs")
