"""`vidseg bench --table 2|3`: what it counts of image models, and its tables."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vidseg import cli
from vidseg.eval.bench_images import BOXES, ImageMeasured, efficiency, size_table, time_table
from vidseg.eval.operations import counter, without_attention
from vidseg.trackers.backbones.relative_attention import attend_with_biases


def row(name: str, parameters: int, gflops: float) -> ImageMeasured:
    return ImageMeasured(
        name=name,
        parameters=parameters,
        weight_bytes=4 * parameters,
        gflops_encoder=gflops - 1,
        gflops_decoder=1.0,
        gflops_survey=gflops / 2,
        encoder_ms=80.0,
        decoder_ms=20.0,
        encoder_cpu_ms=80.0,
        decoder_cpu_ms=20.0,
        boxes_ms={count: 80.0 + 20 * count for count in BOXES},
        peak_memory_bytes={"host": 2**30},
        published={"gpu_ms": 44, "cpu_ms": 424} if name == "mobile-sam" else {},
    )


ROWS = [row("sam-vit-h", 640_000_000, 6000.0), row("mobile-sam", 10_000_000, 80.0)]


def test_eer_is_the_mean_share_of_the_reference() -> None:
    eer = efficiency(ROWS)
    assert eer["sam-vit-h"] == 1
    assert eer["mobile-sam"] == pytest.approx((1 / 64 + 80 / 6000 + 1 / 64) / 3)
    assert efficiency(ROWS[::-1])["sam-vit-h"] == 1
    assert efficiency(ROWS, "mobile-sam")["mobile-sam"] == 1
    assert set(efficiency(ROWS, "nobody").values()) == {None}
    assert size_table(ROWS, "nobody").splitlines()[1].split()[6] == "-"


def test_tables_put_published_figures_at_the_end() -> None:
    sizes, times = size_table(ROWS, None).splitlines(), time_table(ROWS).splitlines()
    assert len(sizes) == len(times) == 3
    assert sizes[1].split()[:7] == ["sam-vit-h", "640.00", "6000.0", "3000.0", "2560.0", "1024", "1.000"]
    assert times[2].endswith("gpu_ms 44, cpu_ms 424")
    assert times[2].split()[1:4] == ["80.0", "20.00", "280.0"]


def test_the_surveys_count_leaves_the_products_of_attention_out() -> None:
    linear, x = nn.Linear(8, 8), torch.ones(1, 2, 5, 8)
    with torch.inference_mode(), counter() as counted:
        q = linear(x)
        F.scaled_dot_product_attention(q, q, q)
        q @ q.transpose(-1, -2)
    of_linear = 2 * 10 * 8 * 8
    assert without_attention(counted) == of_linear
    assert counted.get_total_flops() == of_linear + 3 * 2 * 2 * 5 * 5 * 8


def test_attention_in_blocks_is_counted_as_attention() -> None:
    tokens, channels, side = 1024, 8, 32
    q, k, v = torch.randn(3, 1, 1, tokens, channels)
    along = torch.zeros(1, 1, tokens, side)
    with torch.inference_mode():
        blocks = attend_with_biases(q, k, v, along, along)
        with counter() as counted:
            plain = attend_with_biases(q, k, v, along, along)
    torch.testing.assert_close(blocks, plain)
    assert counted.get_total_flops() == 2 * 2 * tokens**2 * channels
    assert without_attention(counted) == 0


@pytest.mark.slow
def test_a_model_is_measured_in_a_process_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    call = ["bench", "--table", "3", "--frames", "1", "--size", "96x64", "--threads", "1", "--json"]
    small = ["--tracker", "edge-sam", "--image-size", "64", "--allow-random-weights"]
    assert cli.main([*call, *small]) == 0
    document = json.loads(capsys.readouterr().out)
    (model,) = document["models"]
    assert model["name"] == "edge-sam"
    assert model["eer"] == 1
    assert 9_000_000 < model["parameters"] < 10_000_000
    # The survey leaves the products of attention out, and EdgeSAM's decoder has some.
    assert 0 < model["gflops_survey"] < model["gflops_encoder"] + model["gflops_decoder"]
    times = [model["boxes_ms"][str(count)] for count in BOXES]
    assert times[-1] > times[0] > model["encoder_ms"] > 0
    assert model["encoder_cpu_ms"] > 0
    assert model["decoder_cpu_ms"] > 0
