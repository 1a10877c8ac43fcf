"""Pages: whole in one file, safe, the same each time."""

import base64
import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from actiondiff.report.figures import heatmap
from actiondiff.report.html import Page, Section, render, write_page
from actiondiff.report.items import Gallery, Notes, Provenance, Text
from actiondiff.report.strips import frame_strip
from actiondiff.report.tables import Score, score_table

HOSTILE = "<script>alert('x')</script>"


class Elements(HTMLParser):
    """Every element with its attributes, and what is never closed or closed twice."""

    VOID = frozenset({"meta", "img", "br", "hr", "link", "input"})

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def of(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


def a_page(label=HOSTILE):
    frames = np.random.default_rng(0).integers(0, 255, (6, 20, 30, 3)).astype(np.uint8)
    scores = {label: {label: Score(0.5, 0.4, 0.6), "other": Score(None)}}
    grid = score_table(scores, caption=label, floor={label: 0.25}, note=label)
    figure = heatmap(np.array([[0.1, 0.9]]), rows=[label], columns=[label, "b"], title=label, caption=label)
    other = heatmap(np.array([[0.1, 0.9]]), rows=[label], columns=[label, "b"], title=label, name="second")
    return Page(
        label,
        f"{label}\n\nsecond paragraph",
        [
            Section(label, (Text(label), Notes((label,), "warning"), grid, figure, other)),
            Section("frames", (Gallery((frame_strip(frames, label),), label),)),
            Section("from", (Provenance({"a": {label: [1, label], "b": {}}, "c": None}, label),)),
            Section("nothing in it", ()),
        ],
        footer=label,
    )


@pytest.fixture(scope="module")
def text():
    return render(a_page())


def test_labels_are_shown_as_they_are_and_never_run(text):
    elements = Elements(text)
    assert not elements.of("script")
    assert text.count("&lt;script&gt;") > 15
    assert not re.search(r"\son\w+=", text)
    for label in ("[/x]", "a & b", "'\"", "{{ 7 * 7 }}", "$x^2$", "_low", "動作"):
        page = render(a_page(label))
        assert f"<h1>{html.escape(label).replace('&#x27;', '&#39;').replace('&quot;', '&#34;')}</h1>" in page
        Elements(page)


def test_nothing_comes_from_elsewhere(text):
    elements = Elements(text)
    assert not elements.of("link")
    assert {attrs["src"].split(",")[0] for attrs in elements.of("img")} == {"data:image/jpeg;base64"}
    assert all(attrs["href"].startswith(("#", "data:text/csv;")) for attrs in elements.of("a"))
    assert "default-src 'none'" in text
    addresses = set(re.findall(r"https?://[^\"' <]+", text))
    assert all(address.startswith("http://www.w3.org/") for address in addresses), addresses
    assert not re.search(r"@import|url\((?!#)", text)


def test_readable_by_machine_and_ear(text):
    elements = Elements(text)
    assert elements.of("html") == [{"lang": "en"}]
    assert len(elements.of("h1")) == 1
    assert len(elements.of("h2")) == 3  # the empty section is left out
    assert all(attrs.get("alt") for attrs in elements.of("img"))
    assert {attrs["scope"] for attrs in elements.of("th")} == {"col", "row"}
    pictures = [attrs for tag, attrs in elements.found if attrs.get("role") == "img"]
    assert len(pictures) == 2
    assert all("Highest: 90.0 % at" in attrs["aria-label"] for attrs in pictures)


def test_ids_are_unique_and_their_references_resolve(text):
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    used = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"|labelledby="([^"]+)"', text)
    assert {name for names in used for name in names if name} <= set(ids)


def test_data_of_figures_are_in_the_page(text):
    links = [attrs for attrs in Elements(text).of("a") if "download" in attrs]
    assert [link["download"] for link in links] == ["heatmap.csv", "second.csv"]
    held = base64.b64decode(links[0]["href"].split(",")[1]).decode()
    assert held.splitlines() == ["row,column,value", f"{HOSTILE},{HOSTILE},0.1", f"{HOSTILE},b,0.9"]


def test_same_input_same_bytes_on_disk(tmp_path):
    for name in ("one", "two"):
        write_page(tmp_path / name / "page.html", a_page())
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert [str(f) for f in files] == [
        f"page-figures/{name}.{suffix}" for name in ("heatmap", "second") for suffix in ("csv", "png", "svg")
    ] + ["page.html"]
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert (tmp_path / "one/page-figures/heatmap.png").read_bytes()[:4] == b"\x89PNG"


def test_watermark_is_on_every_number(tmp_path, text):
    marked = replace(a_page("x"), watermark="stand-in")
    page = render(marked)
    body = page[page.index("<body>") :]
    assert "stand-in" not in text
    for heading in re.findall(r"<(?:h1|h2|h3|caption)[^>]*>(.*?)</", body):
        assert '<span class="mark">stand-in' in heading
    for svg in re.findall(r"<svg.*?</svg>", body, re.DOTALL):
        assert ">stand-in</text>" in svg
    write_page(tmp_path / "page.html", marked)
    data = pd.read_csv(tmp_path / "page-figures" / "heatmap.csv")
    assert set(data["watermark"]) == {"stand-in"}
    assert "stand-in" in (tmp_path / "page-figures" / "heatmap.svg").read_text()
    assert "stand-in" not in render(a_page("x"))  # marking leaves the figure itself as it was


def test_settings_are_flat_and_complete(text):
    plain = re.sub(r"\s+", " ", render(a_page("x")))
    assert "<dt>a.x</dt><dd>1, x</dd>" in plain
    assert "<dt>a.b</dt><dd>{}</dd>" in plain
    assert "<dt>c</dt><dd>None</dd>" in plain
