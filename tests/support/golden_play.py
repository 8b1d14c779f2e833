"""Plays a golden's scenario through a tracker on the engine, and collects what the golden holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from support.goldens import Golden, PromptCall, Propagation, frames, memory_stats, video_bits, video_sub
from vidseg.trackers.engine_tracker import EngineTracker
from vidseg.trackers.session import EngineSession


def play(golden: Golden, tracker: EngineTracker) -> dict[str, np.ndarray]:
    """Play a scenario through a session as the official two-phase use does, and collect its arrays."""
    video = frames(golden)
    reverse = any(isinstance(step, Propagation) and step.reverse for step in golden.steps)
    session = tracker.start(num_frames=len(video), reverse=reverse, keep_all=True)
    got: dict[str, np.ndarray] = {}
    prompts = passes = 0
    for step in golden.steps:
        if isinstance(step, PromptCall):
            session.prompt(step.obj_id, **step.prompt)
            result = session.condition(video[step.frame_idx])
            got |= _prompt_arrays(f"prompt{prompts}", golden, session, result)
            prompts += 1
        else:
            start = step.start
            if start is None:
                start = min(t for bank in session.banks.values() for t in bank.conditioning)
            order = range(start, -1, -1) if step.reverse else range(start, len(video))
            got |= _pass_arrays(f"pass{passes}", golden, session, [video[t] for t in order])
            passes += 1
    return got


def _prompt_arrays(name: str, golden: Golden, session: EngineSession, result: Any) -> dict[str, Any]:
    """The official call answers for every object so far; one without output on the frame is -1024."""
    logits = np.full((len(session.obj_ids), *result.size_hw), -1024, np.float32)
    for row, obj_id in enumerate(result.obj_ids):
        logits[session.obj_ids.index(obj_id)] = result.video_res_logits[row]
    return {f"{name}_video_sub": video_sub(logits), f"{name}_video_bits": video_bits(logits)}


def _pass_arrays(name: str, golden: Golden, session: EngineSession, video: list[Any]) -> dict[str, Any]:
    rows: dict[str, list[Any]] = {
        key: [] for key in ("order", "low", "obj", "ptr", "is_cond", "mem_stats", "video_sub", "video_bits")
    }
    full_index = int(golden.arrays[f"{name}_mem_full_index"])
    full = None
    for frame in video:
        result = session.step(frame)
        memories = [session.banks[obj_id].at(frame.index) for obj_id in result.obj_ids]
        if len(rows["order"]) == full_index:
            full = np.stack([m.tokens_nc.float().numpy() for m in memories])
        rows["order"].append(frame.index)
        rows["low"].append(result.low_res_logits)
        rows["obj"].append(result.object_score_logits)
        rows["ptr"].append(result.object_pointers)
        rows["is_cond"].append([frame.index in session.banks[o].conditioning for o in result.obj_ids])
        rows["mem_stats"].append([memory_stats(m.tokens_nc) for m in memories])
        rows["video_sub"].append(video_sub(result.video_res_logits))
        rows["video_bits"].append(video_bits(result.video_res_logits))
    got = {f"{name}_{key}": np.array(value) for key, value in rows.items()}
    want_full = golden.arrays[f"{name}_mem_full"]
    assert full is not None
    # A grid of cells (channels first) in most families, latents (tokens first) in EdgeTAM.
    got[f"{name}_mem_full"] = (
        full if want_full.ndim == 3 else full.transpose(0, 2, 1).reshape(want_full.shape)
    )
    if np.isnan(golden.arrays[f"{name}_obj"]).any():
        del got[f"{name}_obj"]
    return got
