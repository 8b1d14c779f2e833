"""The `distil` section of a training YAML."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vidseg.validation import Strict


class DistilSettings(Strict):
    """The teacher, and the weight of each loss; a loss with weight 0 is not computed."""

    teacher: str
    """The teacher: an engine tracker that `vidseg models` lists, or the path of a YAML; an image model for an
    image model."""
    teacher_weights: str | None = None
    """A file of weights for the teacher; None: its own."""
    truth: float = Field(default=1.0, ge=0)
    """Weight of the losses against true masks, which are the only ones of a run without a teacher."""
    embedding: float = Field(default=0.0, ge=0)
    """Weight of the loss on the image encoder's output (MobileSAM)."""
    embedding_distance: Literal["squared", "absolute", "huber"] = "squared"
    """How embeddings are compared: MobileSAM squares differences, TinySAM takes them as they are, NanoSAM by
    Huber's rule; trackers take squares."""
    tokens: float = Field(default=0.0, ge=0)
    """Weight of the loss on the decoder's output tokens (TinySAM); image models alone."""
    masked: float = Field(default=0.0, ge=0)
    """Weight of the loss of masked image pretraining (EfficientSAM's SAMI); image models alone."""
    masked_share: float = Field(default=0.75, gt=0, lt=1)
    """Share of the patches that are hidden then."""
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
        learned = (self.embedding, self.memory, self.masks, self.prompts, self.tokens, self.masked)
        if not any(learned):
            raise ValueError("nothing is learned from the teacher: give embedding, memory, masks or prompts")
        return self
