"""The `distil` section of a training YAML."""

from __future__ import annotations

from pydantic import Field, model_validator

from vidseg.validation import Strict


class DistilSettings(Strict):
    """The teacher, and the weight of each loss; a loss with weight 0 is not computed."""

    teacher: str
    """The teacher: an engine tracker that `vidseg models` lists, or the path of a YAML."""
    teacher_weights: str | None = None
    """A file of weights for the teacher; None: its own."""
    truth: float = Field(default=1.0, ge=0)
    """Weight of the losses against true masks, which are the only ones of a run without a teacher."""
    embedding: float = Field(default=0.0, ge=0)
    """Weight of the loss on the image encoder's output (MobileSAM)."""
    memory: float = Field(default=0.0, ge=0)
    """Weight of the loss on features that memory has conditioned, or on what was read from memory (EdgeTAM).
    """
    masks: float = Field(default=0.0, ge=0)
    """Weight of the loss on masks of all frames, hard ones first, predicted IoU and object score (TinySAM).
    """
    prompts: float = Field(default=0.0, ge=0)
    """Weight of the loss on answers to the first prompt, and to clicks where teacher and student disagree
    (EdgeSAM)."""
    prompt_rounds: int = Field(default=1, ge=1)
    """How many such clicks are given, one after another."""

    @model_validator(mode="after")
    def _learns(self) -> DistilSettings:
        if not (self.embedding or self.memory or self.masks or self.prompts):
            raise ValueError("nothing is learned from the teacher: give embedding, memory, masks or prompts")
        return self
