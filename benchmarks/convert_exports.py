"""Whether exported graphs convert by coremltools or TensorRT, part by part; for CI where those tools are.

    vidseg export edgetam --out packages --format pt2     # coremltools takes torch.export packages
    vidseg export edgetam --out onnx                      # TensorRT takes ONNX
    python benchmarks/convert_exports.py coreml packages [--out converted]
    python benchmarks/convert_exports.py tensorrt onnx [--out converted]

It ends with 0 if all parts convert, with 1 if some do not, and with 2 if it could not try. Nothing is run:
CoreML's models run on a Mac only.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FREE_SIZES = {"objects": 8, "frames": 7, "pointers": 16, "points": 16, "pictures": 8}
"""The largest value of each free size; TensorRT needs a range, and the smallest is 1."""


class CannotTryError(Exception):
    """The tool or the graphs are missing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tool", choices=sorted(CONVERTERS))
    parser.add_argument("folder", type=Path, help="what `vidseg export` wrote")
    parser.add_argument("--out", type=Path, help="keep the converted parts here")
    options = parser.parse_args()
    try:
        parts = read_parts(options.folder, "pt2" if options.tool == "coreml" else "onnx")
        convert = CONVERTERS[options.tool]()
    except CannotTryError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        for name, part in parts.items():
            try:
                convert(options.folder / part["file"], part, out / name)
                print(f"{name}: converts", flush=True)
            except Exception as error:  # whatever a converter raises is the answer
                failed += 1
                print(f"{name}: does not convert: {type(error).__name__}: {error}", flush=True)
    sys.exit(1 if failed else 0)


def read_parts(folder: Path, wanted: str) -> dict[str, dict[str, Any]]:
    """The parts that an export consists of: name -> file and inputs."""
    try:
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        has, parts = facts["format"], facts["parts"]
    except (OSError, ValueError, KeyError, TypeError):
        raise CannotTryError(f"'{folder}' is no export: make one with vidseg export") from None
    if has != wanted:
        raise CannotTryError(f"'{folder}' holds {has}: make it with vidseg export --format {wanted}")
    return dict(parts)


def coreml() -> Callable[[Path, dict[str, Any], Path], None]:
    try:
        import coremltools
        import torch
    except ImportError as error:
        raise CannotTryError(f"coremltools is not here ({error}): pip install coremltools") from None

    def convert(path: Path, part: dict[str, Any], out: Path) -> None:
        # Converters know the operators that PyTorch's own decompositions leave.
        program = torch.export.load(path).run_decompositions({})
        model = coremltools.convert(
            program, minimum_deployment_target=coremltools.target.iOS18, skip_model_load=True
        )
        model.save(str(out.with_suffix(".mlpackage")))

    return convert


def tensorrt() -> Callable[[Path, dict[str, Any], Path], None]:
    try:
        import tensorrt as trt
    except ImportError as error:
        raise CannotTryError(f"tensorrt is not here ({error}): pip install tensorrt") from None
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    if builder is None:
        raise CannotTryError("TensorRT finds no GPU")

    def convert(path: Path, part: dict[str, Any], out: Path) -> None:
        network, config = builder.create_network(0), builder.create_builder_config()
        reader = trt.OnnxParser(network, logger)
        if not reader.parse_from_file(str(path)):
            raise ValueError("; ".join(str(reader.get_error(k)) for k in range(reader.num_errors)))
        profile = builder.create_optimization_profile()
        for name, shape in part["inputs"].items():
            least = [1 if isinstance(size, str) else size for size in shape]
            most = [FREE_SIZES.get(size, 8) if isinstance(size, str) else size for size in shape]
            profile.set_shape(name, least, least, most)
        config.add_optimization_profile(profile)
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise ValueError("no engine was built; TensorRT's log above says why")
        out.with_suffix(".engine").write_bytes(engine)

    return convert


CONVERTERS = {"coreml": coreml, "tensorrt": tensorrt}


if __name__ == "__main__":
    main()
