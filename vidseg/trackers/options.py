"""What is asked of a tracker: one value for `load`, `track`, jobs, evaluations, benchmarks and commands.

A tracker's kind refuses what it cannot do (`require_taken`). None stands for what nobody said: then the
tracker's YAML decides (its `options:`), or else the default that the field's docstring names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from vidseg.errors import ConfigError, unknown
from vidseg.trackers.choices import DEFAULT_TRACKER, DType
from vidseg.validation import Strict, parse


class EngineOptions(Strict):
    """What trackers of the engine can be told besides their model; a YAML's `options:` says it, too."""

    compile: bool | None = None
    """Compile the parts that every frame goes through (default: no); on a GPU they are replayed as CUDA
    graphs. The first frames take minutes."""
    non_overlap_masks: bool | None = None
    """Give each pixel to one object at most, in masks too, not in label maps alone (default: no)."""
    fill_hole_area: Annotated[int, Field(ge=0)] | None = None
    """Fill holes of at most this many low-res pixels in masks (default: 0)."""
    remove_speck_area: Annotated[int, Field(ge=0)] | None = None
    """Drop regions of at most this many low-res pixels from masks (default: 0)."""
    max_conditioning: Annotated[int, Field(ge=2)] | None = None
    """Conditioning frames that memory attention reads at most (default: the bank policy's)."""
    corrections_condition: bool | None = None
    """A corrected frame becomes a conditioning frame (default: no)."""
    clear_memory_around_corrections: bool | None = None
    """Forget tracked frames around a corrected one, which may show what was wrong (default: no)."""


class TrackerOptions(EngineOptions):
    """Which tracker, and all that is asked of it."""

    tracker: Annotated[str, Field(min_length=1)] = DEFAULT_TRACKER
    """A name that `vidseg models` lists, or the path of a YAML file."""
    weights: Annotated[str, Field(min_length=1)] | Mapping[str, Any] | None = None
    """A path (.pt, .safetensors) or a state dict under the official names; None for the YAML's own."""
    device: str = "auto"
    """'auto' (CUDA, then MPS, then the CPU), 'cpu', 'cuda', 'cuda:1', 'mps'."""
    dtype: DType = "float32"
    image_size: Annotated[int, Field(ge=1)] | None = None
    """Side of the square model input."""
    allow_random_weights: bool = False
    """Build a model without weights. Its masks mean nothing."""
    extra: Mapping[str, Any] = Field(default_factory=dict)
    """Options of one kind of tracker, which checks them itself."""

    @field_validator("tracker", "weights", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return fspath(value) if isinstance(value, PathLike) else value

    @classmethod
    def of(cls, tracker: str | PathLike[str] = DEFAULT_TRACKER, **said: Any) -> TrackerOptions:
        """The options that keyword arguments say; those of unknown names are the tracker's own, `extra`.

        Raises:
            ConfigError: a value that is none.
        """
        known = {name: value for name, value in said.items() if name in cls.model_fields}
        extra = {**known.pop("extra", {}), **{name: said[name] for name in said if name not in known}}
        data = {"tracker": tracker, **known, "extra": extra}
        return parse(cls, data, where=f"tracker '{tracker}'", error=ConfigError)

    def with_defaults(self, said: object, where: str) -> TrackerOptions:
        """These options, and where they say nothing those of a tracker's YAML.

        Args:
            said: what stands under `options` there.

        Raises:
            ConfigError: it is no mapping of engine options.
        """
        defaults = parse(EngineOptions, said, where=where, error=ConfigError)
        unsaid = {name: value for name, value in defaults.model_dump().items() if getattr(self, name) is None}
        return self.model_copy(update=unsaid)

    def with_absolute_paths(self) -> TrackerOptions:
        """The same options for a process with another working directory."""
        changed: dict[str, str] = {}
        if self.tracker.endswith((".yaml", ".yml")):
            changed["tracker"] = str(Path(self.tracker).absolute())
        if isinstance(self.weights, str):
            changed["weights"] = str(Path(self.weights).absolute())
        return self.model_copy(update=changed)

    def document(self) -> dict[str, Any]:
        """For run.json: all that may change masks, as JSON values, besides the tracker and its weights."""
        return self.model_dump(mode="json", exclude={"tracker", "weights", "allow_random_weights"})

    def require_taken(
        self,
        taken: Collection[str],
        *,
        by: str,
        why: Mapping[str, tuple[str, str]],
        extra: Collection[str] = (),
    ) -> None:
        """Refuse what a kind of tracker cannot do.

        Args:
            taken: the names of fields that it heeds, besides `tracker` and `allow_random_weights`.
            by: the tracker's name.
            why: of a field that it does not heed: what to say of the tracker, and how to mend it.
            extra: the names in `extra` that it knows.

        Raises:
            ConfigError: it is asked for; what is off, or the default, is not asked for.
        """
        for name, field in TrackerOptions.model_fields.items():
            if name in {*taken, "tracker", "allow_random_weights", "extra"}:
                continue
            value = getattr(self, name)
            if value and value != field.get_default():
                what, hint = why.get(name, (f"has no option '{name}'", "leave it out"))
                raise ConfigError(f"the tracker '{by}' {what}", hint=hint)
        for name in self.extra:
            if name not in extra:
                known = {*taken, *extra}
                raise ConfigError(unknown("option", name, known), where=f"tracker '{by}'")
