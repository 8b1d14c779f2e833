"""The `distil` section of a training YAML."""

from __future__ import annotations

from pydantic import Field, model_validator

from vidseg.validation import Strict


class DistilSettings(Strict):
    """A teacher, and what is learned from it. Every weight is a switch: at 0 its loss is not computed."""

    teacher: str
    """A tracker of the engine: a name that `vidseg models` lists, or the path of a YAML."""
    teacher_weights: str | None = None
    """A file; None for the teacher's own."""
    truth: float = Field(default=1.0, ge=0)
    """Of the losses against true masks, which a run without a teacher has alone."""
    embedding: float = Field(default=0.0, ge=0)
    """The image encoder's output (MobileSAM)."""
    memory: float = Field(default=0.0, ge=0)
    """Features as the memory has changed them, or what was read from it (EdgeTAM)."""
    masks: float = Field(default=0.0, ge=0)
    """The masks of all frames, hard ones first, predicted IoU and object score (TinySAM)."""
    prompts: float = Field(default=0.0, ge=0)
    """Answers to the first prompt, and to clicks where teacher and student disagree (EdgeSAM)."""
    prompt_rounds: int = Field(default=1, ge=1)
    """How many such clicks are given, one after another."""

    @model_validator(mode="after")
    def _learns(self) -> DistilSettings:
        if not (self.embedding or self.memory or self.masks or self.prompts):
            raise ValueError("nothing is learned from the teacher: give embedding, memory, masks or prompts")
        return self
