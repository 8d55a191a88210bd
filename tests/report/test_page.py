import re
import shutil
import subprocess

import pytest

from mnist_vision.report.page import make_report
from mnist_vision.report.sections import SECTIONS
from mnist_vision.report.selection import select
from tests.report.fixtures import (
    digits,
    write_attributions,
    write_calibrated,
    write_ensemble,
    write_job,
    write_many,
    write_robustness,
    write_run,
    write_untested_run,
)

CHROMIUM = shutil.which("chromium")


def report_of(*folders):
    return make_report(select([str(folder) for folder in folders]))


def text_of(report, name):
    return report.files[name].decode()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A report on two seeds of the lab's four, a failed job, other test digits, and damage."""
    root = tmp_path_factory.mktemp("lab")
    write_many(root, 4, 2, 500)
    for folder in root.glob("cnn_*"):
        write_attributions(folder, [3, 50])
    write_robustness(root / "cnn_0_0", num_images=500)
    write_ensemble(root / "ensemble", 0.99, digits(500))
    write_calibrated(root / "calibrated", overrides=["experiment=speedrun"])
    write_job(root / "job", overrides=["experiment=lab/vgg16", "seed=7"])
    scenes = {"architecture": "faster_rcnn", "overrides": ["experiment=scenes/faster_rcnn"]}
    write_run(root / "scenes", targets=digits(300), test={"mAP": 0.82}, **scenes)
    write_untested_run(root / "untested", overrides=["optimizer=sgd"])
    (root / "broken").mkdir()
    (root / "broken" / "results.json").write_text("{")
    return report_of(root)


def test_the_page_needs_nothing_else(lab):
    page = text_of(lab, "report.html")
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert addresses
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
    assert "<script" not in page
    assert "url(" not in page
    assert "@import" not in page


def test_every_link_leads_somewhere_on_the_page(lab):
    page = text_of(lab, "report.html")
    targets = re.findall(r'href="#([^"]*)"', page)
    ids = re.findall(r'id="([^"]*)"', page)
    assert set(targets) <= set(ids)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_both_reports_have_the_same_contents(lab, name):
    content = text_of(lab, name)
    for expected in (
        "Which model, at what cost, and is the difference real?",
        "has the highest mean test accuracy",
        "Choose a setting by its validation accuracy",
        "Confusion matrices",
        "Predictions of each setting",
        "fewest parameters",
        "0.0872",
        "write-up",
        "Test data B",
        "over images, 1 seed",
        "over seeds",
        "may be chance",
        "Wrong for every setting",
        "IMAGENET1K_FEATURES: cannot be fetched; give model.weights=PATH",
        "is damaged, no JSON",
        "2.14.1+cpu",
    ):
        assert expected in content, expected


def test_the_markdowns_plots_are_there(lab):
    named = re.findall(r"!\[[^]]*\]\(([^)]*)\)", text_of(lab, "report.md"))
    assert sorted(named) == sorted(name for name in lab.files if name.endswith(".png"))
    assert {"curve_train_loss.png", "confusion_1.png", "cost_num_parameters_B.png"} <= set(named)


def test_the_markdowns_tables_have_as_many_cells_as_columns(lab):
    tables = re.findall(r"(?:^\|.*\n)+", text_of(lab, "report.md"), re.MULTILINE)
    assert len(tables) > 6
    for table in tables:
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(counts) == 1, table


def test_every_section_is_in_both_reports(lab):
    for section in SECTIONS:
        assert f"{section.title}</h" in text_of(lab, "report.html")
        assert re.search(f"^##? {re.escape(section.title)}$", text_of(lab, "report.md"), re.M)


def test_a_run_is_a_row_of_the_csv(lab):
    header, *rows = text_of(lab, "results.csv").splitlines()
    assert header.startswith("setting,architecture,seed,status,epochs,train_loss,")
    assert len(rows) == 4 * 2 + 1 + 1 + 1 + 1
    assert sum(",completed," in row for row in rows) == 10
    assert "lab/cnn,cnn,0,completed,10," in text_of(lab, "results.csv")
    assert ",not tested," in rows[-2]
    assert ",failed," in rows[-1]


def test_the_summary_is_short(lab):
    assert any(line.startswith("failed  ") for line in lab.summary)
    assert any(line.startswith("skipped  ") and "no JSON" in line for line in lab.summary)
    assert "tested on 500 digits, by validation accuracy" in lab.summary
    assert "not tested, by validation accuracy" in lab.summary


def test_a_long_name_is_wrapped_in_the_summary(tmp_path):
    write_run(tmp_path, overrides=[f"name={'x' * 100}"])
    (_, table, *_) = report_of(tmp_path).summary
    assert table.count("x") == 100
    assert max(map(len, table.splitlines())) < 120


EVIL = "<script>alert(1)</script>"


def test_what_others_wrote_is_text(tmp_path):
    write_run(
        tmp_path / "a",
        architecture=f"cnn{EVIL}",
        overrides=[f"a={EVIL}", 'b="><img src=x>', "c={{ 7 * 7 }}"],
        environment={"device": EVIL, EVIL: "x"},
    )
    write_run(tmp_path / "b", weights=EVIL, overrides=["experiment=lab/cnn"])
    write_job(tmp_path / "c", reason=EVIL, overrides=[EVIL], model=EVIL)
    (tmp_path / f"d{EVIL.replace('/', '')}").mkdir()
    (tmp_path / f"d{EVIL.replace('/', '')}" / "results.json").write_text("{")
    report = report_of(tmp_path)
    for name in ("report.html", "report.md"):
        content = text_of(report, name)
        assert "<script" not in content
        assert "<img src=x" not in content
        assert "&lt;script&gt;alert(1)" in content.replace("script>", "script&gt;")
        assert "49" not in re.findall(r"c=(.{2})", content)


def test_bars_and_brackets_do_not_break_markdown(tmp_path):
    write_run(tmp_path, overrides=["a=x|y", "model.widths=[1,2]", "b=*c*"])
    assert r"cnn a=x\|y widths=\[1,2\] b=\*c\*" in text_of(report_of(tmp_path), "report.md")


def test_one_run_has_nothing_to_be_compared_with(tmp_path):
    write_run(tmp_path, overrides=["experiment=lab/cnn"])
    report = report_of(tmp_path)
    for name in ("report.html", "report.md"):
        assert "lab/cnn reaches a test accuracy of 0.9900" in text_of(report, name)
        assert "there is nothing to compare it with" in text_of(report, name)


def test_runs_without_a_test_alone_are_compared_by_validation(tmp_path):
    for seed in (0, 1):
        write_untested_run(tmp_path / f"a{seed}", overrides=["optimizer=sgd"], seed=seed)
    write_untested_run(tmp_path / "b", accuracy=0.98)
    report = report_of(tmp_path)
    assert "0 runs of 0 settings tested, 3 runs not tested." in text_of(report, "report.md")
    assert "test accuracy" not in text_of(report, "report.md")
    table = report.summary[report.summary.index("not tested, by validation accuracy") + 1]
    assert [line.split()[:3] for line in table.splitlines()[2:]] == [
        ["cnn", "optimizer=sgd", "2"], ["cnn", "1", "0.9820"],
    ]  # fmt: skip
    header, *rows = text_of(report, "results.csv").splitlines()
    assert header.startswith("setting,architecture,seed,status,epochs,val_accuracy,fit_seconds,")
    assert "test_accuracy" not in header
    assert len(rows) == 3


def test_more_settings_than_fit_say_which_are_shown(tmp_path):
    for number in range(14):
        write_run(tmp_path / f"{number:02}", overrides=[f"n={number}"], accuracy=0.9 + number / 200)
    report = report_of(tmp_path)
    page = text_of(report, "report.html")
    assert "Shown: the 10 of 14 settings with the highest validation accuracy." in page
    assert "Shown: the 12 of 14 settings with the highest validation accuracy." in page
    assert (
        "Each of 14 settings is compared with the one of the highest validation accuracy." in page
    )
    assert sum(name.startswith("confusion_") for name in report.files) == 12
    assert any("and 4 more settings" in line for line in report.summary)


def test_the_same_runs_make_the_same_report(tmp_path):
    write_many(tmp_path, 2, 2, 300)
    assert report_of(tmp_path).files == report_of(tmp_path).files


WIDTHS = (360, 390, 820, 1400, 1600)
# Frames, for a browser's own window is never narrower than 500 pixels.
FRAMES = """<body><script>
const measure = (frame) => {
  const root = frame.contentDocument.documentElement;
  frame.contentDocument.querySelectorAll("details").forEach((one) => { one.open = true; });
  document.body.append(`[${frame.width}: ${root.scrollWidth} ${root.clientWidth}]`);
};
for (const width of %s) {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 800; frame.style.border = 0;
  frame.onload = () => measure(frame);
  frame.src = "report.html";
  document.body.append(frame);
}
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs the browser Chromium")
def test_the_page_is_never_wider_than_the_window(lab, tmp_path):
    (tmp_path / "report.html").write_bytes(lab.files["report.html"])
    (tmp_path / "frames.html").write_text(FRAMES % list(WIDTHS))
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",  # a script may look into a frame of another file
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1700,900",
        "--dump-dom",
        f"file://{tmp_path}/frames.html",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    measured = re.findall(r"\[(\d+): (\d+) (\d+)\]", done.stdout)
    assert sorted(int(width) for width, _, _ in measured) == sorted(WIDTHS)
    for width, content, window in measured:
        assert int(content) <= int(window) <= int(width)
