"""The report for every reader: contrast, a phone's width, the keyboard, and runs of hours that still fit."""

from __future__ import annotations

import html.parser
import json
import re
import subprocess
from itertools import product
from pathlib import Path

import pytest

from natsproof.history_file import write
from natsproof.report.build import build
from natsproof.report.page import page
from natsproof.report.record import COMPLETE
from natsproof.report.run_folder import RunFolder, create
from tests.test_report import claim, folder, history

__all__ = ["folder"]

CSS = (Path(__file__).parent.parent / "natsproof" / "report" / "page.css").read_text()
#: WCAG 2.2, level AA: text; and what is no text but means something.
TEXT, GRAPHIC = 4.5, 3.0
ON = ("--ground", "--card", "--sunk")
VERDICTS = ("--holds", "--broken", "--unknown")
PAIRS = [
    *((ink, ground, TEXT) for ink, ground in product(("--ink", "--soft"), ON)),
    *(
        (ink, ground, TEXT)
        for ink, ground in product(("--holds", "--broken", "--unknown", "--accent"), ON[:2])
    ),
    *((name, f"{name}-tint", TEXT) for name in VERDICTS),
    *((mark, "--card", GRAPHIC) for mark in ("--okbar", "--band", "--accent")),
]
MAX_BYTES = 8_000_000


def variables(scheme: str) -> dict[str, str]:
    light, _, rest = CSS.partition("@media (prefers-color-scheme: dark)")
    found = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", light))
    assert rest, "the style sheet has a dark scheme"
    return found if scheme == "light" else found | dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", rest))


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_black_on_white_is_the_most_there_is() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "ground", "least"), PAIRS)
def test_everything_can_be_read(scheme: str, ink: str, ground: str, least: float) -> None:
    colours = variables(scheme)
    assert contrast(colours[ink], colours[ground]) >= least


def test_no_colour_stands_outside_the_two_schemes() -> None:
    on_screen = CSS.partition("@media print")[0]
    rules = re.sub(r":root \{.*?\}", "", on_screen, flags=re.S)
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|hsl", rules)


class Page(html.parser.HTMLParser):
    """Collects what a keyboard and a screen reader meet."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))

    def all(self, *names: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag in names]


def test_what_can_be_used_can_be_reached_with_the_keyboard(folder: RunFolder) -> None:
    text = page(folder, folder.read())
    seen = Page(text)
    assert [a for a in seen.all("a") if "skip" in a.get("class", "")], "a way past the filters"
    for tag, attributes in seen.tags:
        assert not any(name.startswith("on") for name in attributes), f"{tag}: a handler no key reaches"
        assert int(attributes.get("tabindex", 0)) <= 0, f"{tag}: an order of its own"
    for attributes in seen.all("canvas"):
        assert attributes.get("tabindex") == "0"
        assert attributes.get("role") and (attributes.get("aria-label") or attributes.get("aria-labelledby"))
    assert text.count("<input") == len(re.findall(r"<label[^>]*>(?:(?!</label>).)*<input", text, re.S))
    assert seen.all("html")[0]["lang"] == "en"
    assert "width=device-width" in next(a["content"] for a in seen.all("meta") if a.get("name") == "viewport")


def test_every_picture_has_a_text_beside_it(folder: RunFolder) -> None:
    text = page(folder, folder.read())
    figures = re.findall(r"<figure.*?</figure>", text, re.S)
    assert figures
    assert len(re.findall("<canvas|<svg", text)) == sum(len(re.findall("<canvas|<svg", f)) for f in figures)
    for figure in figures:
        caption = re.search(r"<figcaption.*?>(.+?)</figcaption>", figure, re.S)
        assert caption and len(re.sub(r"<[^>]+>", "", caption[1]).split()) >= 5


MEASURE = """<!doctype html><iframe id="f" src="{report}" style="width:360px;height:800px;border:0"></iframe>
<p id="out">not measured</p><script>
document.getElementById("f").onload = function () {{
  var page = this.contentDocument;
  page.querySelectorAll("details").forEach(function (d) {{ d.open = true; }});
  setTimeout(function () {{
    var wide = [];
    page.querySelectorAll("body *").forEach(function (e) {{
      var box = e.getBoundingClientRect();
      if (box.right > 361 && !e.closest("pre, .scroll, .skip")) wide.push(e.tagName + "." + e.className);
    }});
    document.getElementById("out").textContent =
      "width " + page.documentElement.scrollWidth + " of 360; beyond: " + wide.slice(0, 5).join(", ");
  }}, 500);
}};</script>"""


@pytest.mark.browser
def test_on_a_phone_nothing_is_beyond_the_edge(folder: RunFolder, tmp_path: Path) -> None:
    build(folder, folder.read())
    frame = tmp_path / "phone.html"
    frame.write_text(MEASURE.format(report=(folder.path / "report.html").as_uri()))
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=4000", "--dump-dom", frame.as_uri(),
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = re.search(r'<p id="out">width (\d+) of 360; beyond: (.*?)</p>', done.stdout)
    assert said and int(said[1]) <= 360 and not said[2], said and said[0]


def test_the_page_of_a_run_of_hours_stays_small(tmp_path: Path) -> None:
    """250 trials of 12 clients, each with a claim; the bench has one of 1,000,000 operations."""
    made = create(tmp_path / "reports", "embedded", 42)
    made.start({"seed": 42, "cluster": "embedded", "depth": "deep", "contract_digest": "a" * 64})
    recorded = history(600, clients=12)
    for number in range(250):
        trial = made.trial_folder(f"trial-{number:04d}")
        trial.mkdir(parents=True)
        (trial / "trial.json").write_text(
            json.dumps({"name": trial.name, "digest": "d", "state": "complete"})
        )
        write(recorded, trial / "history.jsonl")
        made.add_claim(claim(name=f"test_{number}", trials=(trial.name,)))
    made.add_scope("main", [f"suites/test_x.py::test_{number}" for number in range(250)], [], [])
    made.finish(COMPLETE)
    text = page(made, made.read())
    assert len(text.encode()) <= MAX_BYTES
    assert text.count('"columns":') == 250, "every trial is still drawn"
