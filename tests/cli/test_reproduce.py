"""`actiondiff reproduce --stand-in`, on two rows of a table: finished, marked everywhere, gone on with."""

import json
import re

import pytest

from actiondiff.cli.main import run
from actiondiff.paper.results import REPRODUCTION, read_reproduction, write_reproduction

ROWS = ["--rows", "SDv2, UCF", "--rows", "VideoMAEv2, UCF", "--set", "protocol.selection=source-validation"]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduce") / "out"
    assert run(["reproduce", "table3", "--stand-in", *ROWS, "-o", str(folder)]) == 0
    return folder


def test_every_number_is_marked_and_beside_the_papers(out):
    found = json.loads((out / "reproduction.json").read_text(), parse_constant=pytest.fail)
    assert found["watermark"] == "stand-in"
    assert "drawn clips in place of the datasets'" in found["stand_in"]
    rows = {row["case"]: row for row in found["rows"]}
    assert len(rows) == 3  # VideoMAE v2 is read in two ways
    for case, row in rows.items():
        assert row["in_place_of"] == ("svd-xt" if case.startswith("SDv2") else "videomaev2-g")
        assert (row["published"]["score"], row["comparable"]) == (76.5 if "SDv2" in case else 23.8, False)
        assert row["why_not"] == "it is a stand-in"
        assert row["low"] <= row["score"] <= row["high"]
        assert row["num_test"] == 36
    first = rows["SDv2, UCF to HMDB"]
    assert (first["backbone"], first["width"]) == ("tiny-temporal=False", 64)
    assert first["teraflop"] > 0
    (control,) = found["controls"]
    assert control["above"]
    assert control["permuted_at_prior"]
    assert control["score"]["value"] > control["prior"]["high"] > control["prior"]["value"]
    claims = {claim["id"]: claim for claim in found["claims"]}
    assert claims["ucf-to-hmdb-over-sdv2"]["outcome"] == "not tested"  # ActionDiff was not asked for
    assert "no run of ActionDiff" in claims["ucf-to-hmdb-over-sdv2"]["said"]


def test_results_are_read_back_as_they_were_written(out, tmp_path):
    write_reproduction(tmp_path, read_reproduction(out))
    assert (tmp_path / REPRODUCTION).read_bytes() == (out / REPRODUCTION).read_bytes()


def test_its_page_is_one_file_with_a_mark_on_every_part(out):
    text = (out / "report.html").read_text("utf-8").replace("<wbr>", "")
    assert not re.search(r"""(src|href)=["'](https?:)?//""", text)
    sections = text.count("<h2")
    assert sections >= 6
    assert len(re.findall(r"stand-in</", text, re.IGNORECASE)) > sections
    for said in ("not comparable", "labels permuted", "tiny-temporal=False for svd-xt",
                 "motion for videomaev2-g", "TFLOP per second of video", "STDN", "76.50 %"):  # fmt: skip
        assert said in text, said


def test_again_nothing_is_made_anew(out, capsys):
    def times():
        return {path: path.stat().st_mtime_ns for path in out.rglob("metrics.json")}

    before = times()
    assert len(before) == 7  # three rows; for the control the first again, and with labels permuted thrice
    assert run(["reproduce", "table3", "--stand-in", *ROWS, "-o", str(out)]) == 0
    assert times() == before
    printed = " ".join(capsys.readouterr().out.split())
    assert "STAND-IN" in printed
    assert "control [STAND-IN], ucf-to-hmdb:" in printed
    assert "at the prior" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tabel3", "--stand-in"], "Did you mean 'table3'"),
        (["table3"], "--data"),
        (["table3", "--stand-in", "--rows", "Sora"], "no study has 'Sora'"),
        (["table3", "--stand-in", "--weights", "svd_xt"], "BACKBONE=PATH"),
        (["table3", "--data", "nowhere"], "no folder nowhere"),
    ],
)
def test_mistakes_are_said_in_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["reproduce", *arguments, "-o", "out"]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out/reproduction.json").exists()


def test_a_dry_run_of_the_real_thing_prices_it(tmp_path, capsys):
    from actiondiff.paper.datasets.samples import write_sample

    write_sample("ucf-hmdb", tmp_path / "data")
    arguments = ["table3", "--data", str(tmp_path / "data"), "-o", str(tmp_path / "out"), "--no-draws"]
    assert run(["reproduce", *arguments, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "PFLOP" in printed
    assert "243" in printed
    assert not (tmp_path / "out").exists()
