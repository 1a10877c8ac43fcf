"""Reports of predictions begin with the model's own test score, and print guesses without probabilities."""

import pytest

from actiondiff.report.examples import most_confident


@pytest.mark.parametrize(("beats_guessing", "certainty"), [(True, "p = 0.89"), (False, "a guess")])
def test_captions_of_guesses_have_no_probability(beats_guessing, certainty):
    facts = {
        "kind": "clips",
        "labels": ["fight", "rest"],
        "abstain_below": 0.0,
        "videos": [{"video": "a.mp4", "probabilities": {"fight": 0.89, "rest": 0.11}}],
        "model_test": {"beats_guessing": beats_guessing, "sentence": ""},
    }
    captions = [example.clip.caption for example in most_confident(facts)]
    assert captions == [f"fight: {certainty} in a.mp4"]
