"""The state of a session as pages see it; STATE in docs/annotate_protocol.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vidseg.annotation.formats import describe_formats
from vidseg.annotation.project import MAX_VERSIONS, Project, Said
from vidseg.annotation.spans import count, is_in
from vidseg.pipeline.read.info import ASSUMED_FRAME_RATE

if TYPE_CHECKING:
    from vidseg.annotation.session import AnnotationSession
    from vidseg.pipeline.read.random_access import RandomAccess


def describe(session: AnnotationSession) -> dict[str, Any]:
    """All of the state that belongs to one video."""
    return {
        "video": _video(session.video),
        "tracker": session.tracker.name,
        "folder": str(session.folder.resolve()),
        "formats": describe_formats(),
        **describe_changing(session),
    }


def describe_changing(session: AnnotationSession) -> dict[str, Any]:
    """The part of the state that acts change."""
    project = session.project
    return {
        "objects": [
            {"id": t.obj_id, "label": t.label, "colour": t.colour, "visible": t.visible, "locked": t.locked}
            for t in project.objects()
        ],
        "prompts": [_prompt(said) for said in project.said()],
        "absent": [
            {"object": obj_id, "first": first, "last": last}
            for obj_id, spans in project.absent().items()
            for first, last in spans
        ],
        "reviewed": project.reviewed(),
        "flags": [{"frame": frame, "note": note} for frame, note in project.flags().items()],
        "history": _history(project),
        **describe_progress(session),
    }


def describe_progress(session: AnnotationSession) -> dict[str, Any]:
    """The part of the state that changes while tracking."""
    project = session.project
    doubts, reviewed = project.doubts(), project.reviewed()
    doubtful = {
        f for d in doubts for f in range(d["frames"][0], d["frames"][1] + 1) if not is_in(reviewed, f)
    }
    return {
        "doubts": doubts,
        "progress": {
            "tracked": project.num_frames_with_masks(),
            "reviewed": count(reviewed),
            "frames": session.num_frames,
            "doubtful": len(doubtful),
        },
        "job": session.job_document(),
    }


def _video(video: RandomAccess) -> dict[str, Any]:
    height, width = video.info.size_hw
    rate = float(video.info.frame_rate or ASSUMED_FRAME_RATE)
    return {
        "name": video.info.name,
        "width": width,
        "height": height,
        "frames": video.num_frames,
        "rate": round(rate, 3),
        "duration": round(video.num_frames / rate, 3),
    }


def _prompt(said: Said) -> dict[str, Any]:
    document: dict[str, Any] = {"object": said.obj_id, "frame": said.frame_idx}
    if said.is_drawn:
        return {**document, "drawn": True}
    if said.box is not None:
        document["box"] = said.box
    if said.points is not None:
        document |= {"points": said.points, "labels": said.labels}
    return document


def _history(project: Project) -> dict[str, Any]:
    done, undone = project.database.acts(), project.database.acts(are_undone=True)
    versions = [act for act in done if act.obj_ids][:MAX_VERSIONS]
    return {
        "undo": done[0].title if done else None,
        "redo": undone[-1].title if undone else None,
        "depth": len(done),
        "versions": [
            {"version": act.act_id, "title": act.title, "objects": act.obj_ids, "time": act.time}
            for act in versions
        ],
    }
