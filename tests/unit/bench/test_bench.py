# Copyright (c) 2026 The Benito developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's tables, plots and guard say what was measured, and nothing else."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
guard, plot, private, render, results, bench = (
    importlib.import_module(f"tests.bench.{name}") for name in ("guard", "plot", "private", "render", "results", "__main__")
)
MACHINE = {"date": "2026-01-02", "": "Some CPU", "cores": "2"}


def made(**more):
    values = {
        "key": "race",
        "title": "A race",
        "measures": (results.Measure("up", "up, s"),),
        "ratios": (results.Ratio("to-floor", "of the floor", "up", "up", "floor", targets={"warm": 0.25, "cold": 1.15}),),
        "drawn": ("up",),
        "samples": {"floor": {"up": [10.0, 20.0, 12.0]}, "cold": {"up": [14.0, 13.0, 15.0]}, "warm": {"up": [3.0]}, "other": {}},
        "reasons": {"other": "it is not installed."},
        **more,
    }
    return results.Table(**values)


def test_ratios_are_of_medians_and_come_first() -> None:
    text = render.table(made(), {"race/cold/to-floor": "the reason"}, "plots")
    lines = text.splitlines()
    assert lines[0] == "### A race"
    assert "|  | of the floor | up, s |" in lines
    assert "| floor | 1 | 12.0 (10.0 to 20.0) |" in lines
    assert "| cold | **1.17** (target 1.15, missed) | 14.0 (13.0 to 15.0) |" in lines
    assert "| warm | **0.25** (target 0.25) | 3.0 |" in lines
    assert "| other | - | - |" in lines


def test_what_is_missed_or_missing_says_why() -> None:
    text = render.table(made(), {"race/cold/to-floor": "the reason"}, "plots")
    assert "- Missed: cold, of the floor: the reason." in text
    assert "warm, of" not in text
    assert "- Not measured: other: it is not installed." in text
    assert "- Missed: cold, of the floor: no reason is noted yet." in render.table(made(), {}, "plots")


def test_medians_may_have_targets_too() -> None:
    up = results.Measure("up", "up, s", targets={"warm": 2, "cold": 20})
    text = render.table(made(measures=(up,), ratios=()), {"race/warm/up": "slow"}, "plots")
    assert "| cold | **14.0** (target 20) (13.0 to 15.0) |" in text
    assert "| warm | **3.0** (target 2, missed) |" in text
    assert "- Missed: warm, up, s: slow." in text


def test_few_samples_are_said() -> None:
    assert "fewer than three" in render.table(made(), {}, "plots")
    assert "fewer than three" not in render.table(made(samples={"floor": {"up": [1, 2, 3]}}), {}, "plots")


def test_ratios_within_a_row_and_turned_round() -> None:
    table = made(
        measures=(results.Measure("cold", "cold"), results.Measure("warm", "warm"), results.Measure("rate", "Mb/s")),
        ratios=(results.Ratio("part", "part", "warm", "cold"), results.Ratio("slower", "slower", "rate", "rate", "a", inverse=True)),
        samples={"a": {"cold": [8], "warm": [2], "rate": [100]}, "b": {"cold": [0], "warm": [2], "rate": [50]}},
    )
    assert table.ratios_by_key() == {"race/a/part": 0.25, "race/b/slower": 2.0}


def test_reports_survive_being_written(tmp_path: Path) -> None:
    report = results.Report("subject", MACHINE, (made(),))
    report.save(tmp_path)
    assert results.Report.load(tmp_path / "subject.json") == report


def test_only_what_is_between_the_markers_of_a_page_changes() -> None:
    page = "# Page\n\n<!-- bench: a -->\nold\n<!-- end of bench: a -->\n\nprose\n<!-- bench: b -->\n<!-- end of bench: b -->\n"
    once = render.filled(page, {"a": "new"})
    assert once == page.replace("old", "new")
    assert render.filled(once, {"a": "new"}) == once
    with pytest.raises(ValueError, match="bench: c"):
        render.filled(page, {"c": "text"})


def test_the_page_has_markers_for_every_subject() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    subjects = [
        path.stem for path in (ROOT / "tests" / "bench" / "subjects").glob("*.py") if "def tables(" in path.read_text(encoding="utf-8")
    ]
    assert len(subjects) == 6
    render.filled(page, dict.fromkeys(subjects, "text"))


def test_a_section_names_the_machine_and_the_day() -> None:
    text = render.section(results.Report("subject", MACHINE, (made(),)), {})
    assert text.endswith("Measured on 2026-01-02: Some CPU, cores 2.")
    assert "![A race](plots/race.svg)" in text


def test_plots_are_well_formed_and_always_the_same() -> None:
    rows = {"one & two": [1.0, 2.0], "<three>": [None, 4.0]}
    svg = plot.bars("Title <b>", rows, ["x", "y"])
    assert svg == plot.bars("Title <b>", rows, ["x", "y"])
    tree = ElementTree.fromstring(svg)
    words = [element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert words == ["Title <b>", "x", "y", "one & two", "1.00", "2.00", "<three>", "-", "4.00"]


def test_bars_are_as_long_as_their_values_and_stay_inside() -> None:
    tree = ElementTree.fromstring(plot.bars("t", {"a": [10.0], "b": [5.0], "c": [0.0]}, ["x"]))
    widths = [float(r.get("width")) for r in tree.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert widths[0] == pytest.approx(2 * widths[1])
    assert widths[0] + plot.LABELS + plot.VALUES <= plot.WIDTH
    assert widths[2] == 1


def test_a_plot_without_any_value_is_a_plot() -> None:
    ElementTree.fromstring(render.plot(made(samples={"a": {}})))


def test_the_guard_says_what_got_worse() -> None:
    ratios = {"t/a/r": 0.4, "t/b/r": 0.4, "t/new/r": 9.0}
    expected = {"t/a/r": {"ratio": 0.2}, "t/b/r": {"ratio": 0.2, "tolerance": 1.0}, "t/gone/r": {"ratio": 1.0}}
    assert guard.worse(ratios, expected) == ["t/a/r is 0.40, was 0.20, and may be 0.30"]


def test_the_guard_misses_what_is_not_there_of_tables_that_were_measured() -> None:
    report = results.Report("s", MACHINE, (made(),))
    expected = {"race/cold/to-floor": {"ratio": 1}, "race/other/to-floor": {"ratio": 1}, "elsewhere/a/b": {"ratio": 1}}
    assert guard.missing([report], expected) == ["race/other/to-floor was not found"]


def test_seconds_have_reasons_and_no_guard() -> None:
    report = results.Report("s", MACHINE, (made(),))
    expected = {"race/cold/up": {"why": "so"}, "race/cold/to-floor": {"why": "so"}}
    assert guard.missing([report], expected) == guard.worse(guard.found([report]), expected) == []
    assert guard.reasons(expected) == {"race/cold/up": "so", "race/cold/to-floor": "so"}


def test_what_is_kept_keeps_tolerances_and_reasons() -> None:
    kept = guard.kept({"a": 2.0, "new": 3.0}, {"a": {"ratio": 1.0, "tolerance": 0.1, "why": "so"}, "other": {"ratio": 5.0}})
    assert kept == {"a": {"ratio": 2.0, "tolerance": 0.1, "why": "so"}, "other": {"ratio": 5.0}, "new": {"ratio": 3.0}}
    assert guard.reasons(kept) == {"a": "so"}


def test_what_is_expected_is_well_formed() -> None:
    for key, entry in json.loads(guard.EXPECTED.read_text()).items():
        assert len(key.split("/")) == 3, key
        assert set(entry) <= {"ratio", "tolerance", "why"}
        assert entry.get("ratio", 1) > 0
        assert entry.keys() & {"ratio", "why"}


def test_ways_are_measured_in_turns_and_one_that_fails_is_left_out() -> None:
    calls = []

    def way(name, value):
        def run():
            calls.append(name)
            return {name: {"up": value}}

        return run

    def broken():
        calls.append("broken")
        raise results.Unavailable("not installed")

    samples, reasons = results.in_turns({"a": way("a", 1.0), "broken": broken, "b": way("b", 2.0)}, 2, lambda text: None)
    assert calls == ["a", "broken", "b", "a", "b"]
    assert samples == {"a": {"up": [1.0, 1.0]}, "broken": {}, "b": {"up": [2.0, 2.0]}}
    assert reasons == {"broken": "not installed"}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the last run found, what is expected and the page, all below a directory of the test's own."""
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    for name, place in (("OUTPUT", "output"), ("PAGE", "page.md"), ("PLOTS", "plots")):
        monkeypatch.setattr(bench, name, tmp_path / place)
    monkeypatch.setattr(guard.load, "__defaults__", (tmp_path / "expected.json",))
    monkeypatch.setattr(guard.save, "__defaults__", (tmp_path / "expected.json",))
    (tmp_path / "page.md").write_text("<!-- bench: plan -->\n<!-- end of bench: plan -->\n")
    return tmp_path


def test_the_exit_code_says_whether_it_got_worse(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = bench.arguments(["--only", "plan", "--guard"])
    assert bench.conclude(options) == 1
    assert "nothing to compare" in capsys.readouterr().out
    results.Report("plan", MACHINE, (made(),)).save(elsewhere / "output")
    assert bench.conclude(bench.arguments(["--only", "plan", "--guard", "--keep"])) == 0
    assert bench.conclude(options) == 0
    results.Report("plan", MACHINE, (made(samples={"floor": {"up": [1.0]}, "cold": {"up": [2.0]}}),)).save(elsewhere / "output")
    capsys.readouterr()
    assert bench.conclude(options) == 1
    said = capsys.readouterr().out.splitlines()
    assert said == ["WORSE: race/cold/to-floor is 2.00, was 1.17, and may be 1.75", "WORSE: race/warm/to-floor was not found"]


def test_only_complete_runs_are_written_down(elsewhere: Path) -> None:
    results.Report("plan", MACHINE, (made(),)).save(elsewhere / "output")
    page = elsewhere / "page.md"
    empty = page.read_text()
    for words in (["--quick"], ["--sizes", "3"], ["--rounds", "1"], ["--no-docs"]):
        bench.conclude(bench.arguments(["--only", "plan", *words]))
        assert page.read_text() == empty
    bench.conclude(bench.arguments(["--only", "plan"]), complete=False)
    assert page.read_text() == empty
    bench.conclude(bench.arguments(["--only", "plan"]))
    assert "### A race" in page.read_text()
    assert [path.name for path in (elsewhere / "plots").iterdir()] == ["race.svg"]


def test_subjects_are_known_and_in_order() -> None:
    assert bench.arguments(["--only", "plan,guests"]).only == ["guests", "plan"]
    with pytest.raises(SystemExit):
        bench.arguments(["--only", "nonsense"])


def test_what_unshare_has_started_is_asked_to_end() -> None:
    # unshare itself takes no notice of the signal.
    with subprocess.Popen(
        ["unshare", "--fork", "sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done"], stdout=-1
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        private.end(child.pid)
        assert child.wait(20) == 7
