"""Histograms and recordings: percentiles, exact merging, and what counts into which window."""

import pickle

import numpy as np
import pytest

from tests.load.recorder import OUT_OF_TIME, Call, Histogram, Recorder, Recording, merged


def filled(values_ms) -> Histogram:
    histogram = Histogram()
    for value in values_ms:
        histogram.record(value)
    return histogram


def test_percentiles_to_three_digits() -> None:
    values = np.random.default_rng(0).lognormal(3.0, 1.0, 20_000)
    histogram = filled(values)
    for percent in (1, 50, 90, 99, 99.9):
        exact = np.quantile(values, percent / 100, method="inverted_cdf")
        assert histogram.percentile(percent) == pytest.approx(exact, rel=2e-3)
    assert histogram.max == pytest.approx(values.max(), rel=2e-3)
    assert histogram.mean == pytest.approx(values.mean(), rel=1e-6)
    assert Histogram.decode(histogram.encode()).mean == pytest.approx(values.mean(), rel=2e-3)
    assert histogram.count == 20_000


def test_an_empty_histogram_and_out_of_range_values() -> None:
    assert Histogram().percentiles([50, 99]) == {50: 0.0, 99: 0.0}
    assert Histogram().max == Histogram().mean == 0.0
    assert filled([1e9]).percentile(50) == pytest.approx(120_000, rel=1e-3)
    assert filled([-5.0]).count == 1


def test_merging_equals_recording_everything_in_one_place_and_is_no_average() -> None:
    quick, slow = [1.0] * 990, [100.0] * 10 + [200.0] * 990
    together = filled(quick)
    together.add(pickle.loads(pickle.dumps(filled(slow))))
    whole = filled(quick + slow)
    assert together.encode() == whole.encode()
    assert together.mean == whole.mean
    assert together.percentile(50) == pytest.approx(100.0, rel=2e-3)
    average = (filled(quick).percentile(50) + filled(slow).percentile(50)) / 2
    assert average == pytest.approx(100.5, rel=2e-3)
    assert together.percentile(40) == pytest.approx(1.0, rel=2e-3)


def test_text_round_trip_can_be_recorded_into() -> None:
    histogram = Histogram.decode(filled([1.0, 2.0, 3.0]).encode())
    histogram.record(4.0)
    assert histogram.count == 4
    assert histogram.max == pytest.approx(4.0, rel=2e-3)


def call(intended: float, **changes) -> Call:
    return Call(**{"rpc": "Recommend", "intended": intended, "sent": intended, "finished": intended + 0.01} | changes)


def test_only_the_window_counts() -> None:
    recorder = Recorder(start=100.0, seconds=2.0)
    for intended in (99.9, 100.0, 100.5, 101.999, 102.0):
        recorder.record(call(intended))
    recording = recorder.recording
    assert recording.calls == 3
    assert {second: tick.calls for second, tick in recording.ticks.items()} == {0: 2, 1: 1}


def test_latency_counts_from_the_intended_send() -> None:
    recorder = Recorder(0.0, 10.0)
    recorder.record(call(1.0, sent=1.5, finished=1.75))
    rpc = recorder.recording.rpcs["Recommend"]
    assert rpc.latency.percentile(50) == pytest.approx(750, rel=2e-3)
    assert rpc.latency_from_send.percentile(50) == pytest.approx(250, rel=2e-3)
    assert recorder.recording.lag.percentile(50) == pytest.approx(500, rel=2e-3)


def test_a_timer_that_fires_early_gains_nothing() -> None:
    recorder = Recorder(0.0, 10.0)
    recorder.record(call(1.0, sent=0.999, finished=1.1))
    assert recorder.recording.rpcs["Recommend"].latency.percentile(50) == pytest.approx(101, rel=2e-3)
    assert recorder.recording.lag.max == 0.0


def test_running_out_of_time_is_in_the_percentiles_and_being_refused_is_not() -> None:
    recorder = Recorder(0.0, 10.0)
    recorder.record(call(1.0, finished=2.0, error=OUT_OF_TIME))
    recorder.record(call(1.0, finished=1.001, error="RESOURCE_EXHAUSTED"))
    recorder.record(call(1.0, degraded=("ranking", "display")))
    recording = recorder.recording
    rpc = recording.rpcs["Recommend"]
    assert rpc.latency.count == 2
    assert rpc.latency.max == pytest.approx(1000, rel=2e-3)
    assert recording.errors == {OUT_OF_TIME: 1, "RESOURCE_EXHAUSTED": 1}
    assert recording.error_share == pytest.approx(2 / 3)
    assert recording.degraded_share("Recommend") == pytest.approx(1 / 3)
    assert rpc.degraded == {"ranking": 1, "display": 1}


def test_workers_recordings_merge_through_pickle() -> None:
    recorders = [Recorder(0.0, 5.0) for _ in range(3)]
    for worker, recorder in enumerate(recorders):
        recorder.record(call(worker, stages={"score": 5.0 * (worker + 1), "total": 20.0}))
        recorder.record(call(1.0, rpc="RecordEvents", error="UNAVAILABLE"))
        recorder.recording.counts["events"] += 2
        recorder.recording.cpu_seconds = 0.5
    parts: list[Recording] = pickle.loads(pickle.dumps([recorder.recording for recorder in recorders]))
    total = merged(parts)
    assert total.calls == 6
    assert total.seconds == 5.0
    assert total.errors == {"UNAVAILABLE": 3}
    assert total.rpcs["Recommend"].latency.count == 3
    assert total.stages["score"].percentile(50) == pytest.approx(10.0, rel=2e-3)
    assert total.counts == {"events": 6}
    assert total.cpu_seconds == 1.5
    assert total.ticks[1].calls == 4
