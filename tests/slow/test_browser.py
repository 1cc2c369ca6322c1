"""The page of an evaluation in a browser that has no network."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from reports import overview
from tests.support.evaluations import evaluated


@pytest.fixture
def evaluation(tmp_path):
    folder = tmp_path / "eval"
    for number in (1, 2, 3, 4, 10):
        evaluated(folder, number)
    overview.rebuild(folder)
    return folder


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium here (Debian's package chromium)")
def test_a_browser_shows_the_page_without_the_network(evaluation, tmp_path):
    source, shot = evaluation / "report.html", tmp_path / "page.png"
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    browser += ["--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1200,1600"]

    def open_page(*options):
        command = [*browser, *options, source.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout

    dom = open_page("--dump-dom")
    assert "<table>" in dom and dom.count("<figure>") == 5 and "Best: checkpoint 3" in dom and "</svg>" in dom
    open_page(f"--screenshot={shot}")
    with Image.open(shot) as image:
        assert image.size == (1200, 1600)
        pixels = np.asarray(image.convert("RGB")).astype(int)
    ink = (pixels.min(-1) < 200).mean(1)  # of each line
    assert (ink > 0).mean() > 0.4  # text, curves and samples, not an empty or a failed page
    blue = (np.abs(pixels - np.array([0x1F, 0x5F, 0xA8])).max(-1) < 12).sum()
    assert blue > 300  # the curves themselves
