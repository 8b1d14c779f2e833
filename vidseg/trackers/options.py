"""Options of a tracker: one value for `load`, `track`, jobs, evaluations, benchmarks and commands.

Each kind of tracker refuses options that it cannot honour (`require_taken`). None means that the caller did
not say: then the tracker's YAML decides (its `options:`), or else the default in the field's docstring.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Field, field_validator

from vidseg.errors import ConfigError, unknown
from vidseg.trackers.choices import DEFAULT_TRACKER, DType, EncoderProducts
from vidseg.validation import Strict, parse


class EngineOptions(Strict):
    """Options of trackers on the engine besides their model; `options:` in a YAML may set them, too."""

    compile: bool | None = None
    """Whether to compile the parts that run on every frame (default: no); on a GPU they are replayed as CUDA
    graphs. The first frames take minutes."""
    graphs: bool | None = None
    """Whether to record what every frame computes as CUDA graphs, and to use kernels in Triton where it is
    installed (default: no). Unlike `compile`, it takes no time; each recording is checked once."""
    encoder_products: EncoderProducts | None = None
    """How an NVIDIA GPU multiplies in the image encoder's linear layers, by torchao: 'int8', or 'sparse' (two
    of four weights); see `vidseg.trackers.encoder_products`. Masks change (default: as `dtype` says)."""
    non_overlap_masks: bool | None = None
    """Whether to give each pixel to at most one object in masks, too, and not only in label maps (default:
    no)."""
    fill_hole_area: Annotated[int, Field(ge=0)] | None = None
    """Fill holes of at most this many low-res pixels in masks (default: 0)."""
    remove_speck_area: Annotated[int, Field(ge=0)] | None = None
    """Drop regions of at most this many low-res pixels from masks (default: 0)."""
    fast: bool | None = None
    """Whether memory attention reads less, as the tracker's YAML says under `fast` (default: no).
    Masks change a little, and drift sooner where an object comes back."""
    max_conditioning: Annotated[int, Field(ge=2)] | None = None
    """How many conditioning frames memory attention reads at most (default: that of the bank policy)."""
    corrections_condition: bool | None = None
    """Whether a corrected frame becomes a conditioning frame (default: no)."""
    clear_memory_around_corrections: bool | None = None
    """Whether to forget tracked frames near a corrected one, as they may show the same mistake (default: no).
    """


class TrackerOptions(EngineOptions):
    """The choice of a tracker, and all its options."""

    tracker: Annotated[str, Field(min_length=1)] = DEFAULT_TRACKER
    """A name that `vidseg models` lists, or the path of a YAML file."""
    weights: Annotated[str, Field(min_length=1)] | Mapping[str, Any] | None = None
    """A path (.pt, .safetensors) or a state dict under the official names; None: the YAML's own."""
    device: str = "auto"
    """'auto' (CUDA, then MPS, then the CPU), 'cpu', 'cuda', 'cuda:1', 'mps'."""
    dtype: DType = "auto"
    """'auto' is bfloat16 for trackers whose masks were found the same in it, where the device multiplies it
    fast, and else float32."""
    image_size: Annotated[int, Field(ge=1)] | None = None
    """Side of the square model input."""
    allow_random_weights: bool = False
    """Whether to build a model without weights. Its masks mean nothing."""
    extra: Mapping[str, Any] = Field(default_factory=dict)
    """Options of one kind of tracker, which that kind checks."""

    @field_validator("device", mode="before")
    @classmethod
    def _device_as_text(cls, value: Any) -> Any:
        """A `torch.device` by its name."""
        is_torch = type(value).__module__ == "torch" and type(value).__name__ == "device"
        return str(value) if is_torch else value

    @field_validator("tracker", "weights", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        value = fspath(value) if isinstance(value, PathLike) else value
        if value == "":
            raise ValueError("the name is empty")
        return value

    @classmethod
    def of(cls, tracker: str | PathLike[str] = DEFAULT_TRACKER, **said: Any) -> TrackerOptions:
        """The options in keyword arguments; unknown names are for the kind of tracker, in `extra`.

        Raises:
            ConfigError: a value is not allowed.
        """
        known = {name: value for name, value in said.items() if name in cls.model_fields}
        extra = {**known.pop("extra", {}), **{name: said[name] for name in said if name not in known}}
        data = {"tracker": tracker, **known, "extra": extra}
        return parse(cls, data, where=f"tracker '{tracker}'", error=ConfigError)

    def with_defaults(self, said: object, where: str) -> TrackerOptions:
        """These options; those that the caller left open are taken from a tracker's YAML.

        Args:
            said: what the YAML says under `options`.

        Raises:
            ConfigError: `said` is no mapping of engine options.
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
        """All that may change masks besides the tracker and its weights, as JSON values for run.json."""
        return self.model_dump(mode="json", exclude={"tracker", "weights", "allow_random_weights"})

    def with_dtype_of(self, earlier: object) -> TrackerOptions:
        """These options; where the type is left open, it is the one that an earlier run was made in.

        Args:
            earlier: the type in the record of that run; anything else than a name of a type is left alone.
        """
        if self.dtype != "auto" or earlier not in get_args(DType):
            return self
        return self.model_copy(update={"dtype": earlier})

    def require_taken(
        self,
        taken: Collection[str],
        *,
        by: str,
        why: Mapping[str, tuple[str, str]],
        extra: Collection[str] = (),
    ) -> None:
        """Refuse options that a kind of tracker cannot honour.

        Options that are off or at their default are not refused, nor is float32, in which all compute.

        Args:
            taken: names of the fields that it honours, besides `tracker` and `allow_random_weights`.
            by: name of the tracker.
            why: field that it does not honour -> what to say of the tracker, and how to mend it.
            extra: names in `extra` that it knows.

        Raises:
            ConfigError: such an option was given.
        """
        for name, field in TrackerOptions.model_fields.items():
            if name in {*taken, "tracker", "allow_random_weights", "extra"}:
                continue
            value = getattr(self, name)
            if value and value != field.get_default() and (name, value) != ("dtype", "float32"):
                what, hint = why.get(name, (f"has no option '{name}'", "leave it out"))
                raise ConfigError(f"the tracker '{by}' {what}", hint=hint)
        for name in self.extra:
            if name not in extra:
                known = {*taken, *extra}
                raise ConfigError(unknown("option", name, known), where=f"tracker '{by}'")
