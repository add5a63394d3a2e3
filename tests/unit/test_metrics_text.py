"""Numbers in the format that Prometheus reads."""

from __future__ import annotations

import re

from sonant.server.metrics import FAMILIES, Metrics

LINE = re.compile(r'[a-z_]+(\{[a-z_]+="(?:[^"\\\n]|\\.)*"(,[a-z_]+="(?:[^"\\\n]|\\.)*")*\})? [-+.\deinf]+')


def test_every_line_can_be_read_and_every_family_is_explained() -> None:
    metrics = Metrics()
    metrics.count("sonant_requests_total", path='/a"\n\\', status="200")
    metrics.observe("sonant_stream_lag_seconds", 0.3)
    metrics.watch("sonant_streams_open", lambda: 3)
    lines = metrics.text().splitlines()
    assert all(line.startswith("# ") or LINE.fullmatch(line) for line in lines)
    assert {line.split()[2] for line in lines if line.startswith("# TYPE")} == set(FAMILIES)
    assert "sonant_streams_open 3" in lines


def test_a_histogram_counts_what_is_below_each_bound() -> None:
    metrics = Metrics()
    for value in (0.01, 0.3, 0.3, 1000):
        metrics.observe("sonant_request_seconds", value, protocol="x")
    text = metrics.text()
    for bound, count in (("0.01", 1), ("0.25", 1), ("0.5", 3), ("300.0", 3), ("+Inf", 4)):
        assert f'sonant_request_seconds_bucket{{protocol="x",le="{bound}"}} {count}\n' in text
    assert 'sonant_request_seconds_count{protocol="x"} 4\n' in text
    assert 'sonant_request_seconds_sum{protocol="x"} 1000.61\n' in text
