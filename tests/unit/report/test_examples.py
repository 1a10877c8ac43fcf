"""Which examples a report of predictions shows."""

from actiondiff.report.examples import most_confident


def facts(kind, videos, *, limit=0.0):
    return {"kind": kind, "labels": ["b", "a"], "abstain_below": limit, "videos": videos}


def clip(video, a):
    return {"video": video, "probabilities": {"b": 1 - a, "a": a}}


def test_surest_clips_of_each_predicted_label():
    videos = [clip("1", 0.9), clip("2", 0.99), {"video": "failed"}, clip("3", 0.2), clip("4", 0.45)]
    found = most_confident(facts("clips", videos))
    assert [example.clip.caption for example in found] == ["b: p = 0.80 in 3", "a: p = 0.99 in 2"]
    assert [example.clip.video for example in most_confident(facts("clips", videos), each=2)] == [
        "3",
        "4",
        "2",
        "1",
    ]
    assert [example.clip.video for example in most_confident(facts("clips", videos, limit=0.85), each=2)] == [
        "2",
        "1",
    ]


def test_surest_bouts_of_each_label():
    videos = [
        {"video": "x/1", "bouts": [["a", 0.0, 2.0, 0.7], ["b", 2.0, 3.0, 0.6]]},
        {"video": "x/2", "bouts": [["a", 1.0, 2.5, 0.8]]},
        {"video": "failed"},
    ]
    second, first = most_confident(facts("timelines", videos))
    assert second.clip.caption == "b: p = 0.60 in 1, 0:02.0 to 0:03.0"
    assert (first.clip.video, first.clip.start_seconds, first.clip.end_seconds) == ("x/2", 1.0, 2.5)
    assert most_confident(facts("timelines", [{"video": "1", "bouts": []}])) == []
