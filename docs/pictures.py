"""Takes the pictures of the documentation again: the page, the report of a run, TensorBoard, the times of training.

The run is that of the built-in model:

    gpt-classifier pretrain --config sms-pretrain && gpt-classifier fit --config sms && gpt-classifier test --config sms
    python docs/pictures.py checkpoints/sms/version_0
"""

import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import matplotlib.pyplot as plt
from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
PICTURES = HERE / "pages" / "pictures"
MESSAGE = "WINNER!! As a valued customer you have been selected to claim your prize, call now"


def main(run: Path) -> None:
    speed((HERE / "pages" / "measurements.md").read_text(encoding="utf-8"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 760})
        page.goto((run / "report.html").resolve().as_uri())
        taken(page, "report")
        with serving([sys.executable, "-m", "gpt_classifier", "app", "--port", "8765"], "http://127.0.0.1:8765/health"):
            page.goto("http://127.0.0.1:8765/")
            page.set_viewport_size({"width": 1100, "height": 980})
            page.locator("textarea").first.fill(MESSAGE)
            page.get_by_role("button", name="Classify", exact=True).click()
            page.locator("#sentences").wait_for()
            page.wait_for_timeout(500)
            taken(page, "page")
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run), "--port", "8766"]
        with serving(command, "http://127.0.0.1:8766/"):
            page.goto("http://127.0.0.1:8766/?darkMode=false&tagFilter=^val/(accuracy|loss)|confusion#timeseries")
            page.wait_for_timeout(5000)
            page.get_by_role("button", name="Settings").last.click()  # closes them
            page.wait_for_timeout(3000)
            taken(page, "tensorboard")
        browser.close()


class serving:
    """A server that runs in the background until the block ends."""

    def __init__(self, command: list[str], address: str) -> None:
        self.process, self.address = subprocess.Popen(command, stderr=subprocess.DEVNULL), address

    def __enter__(self) -> None:
        for _ in range(120):
            time.sleep(0.5)
            try:
                urlopen(self.address)
                return
            except OSError:
                continue
        raise SystemExit(f"no server at {self.address}")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


def taken(page: Page, name: str) -> None:
    """Saves what is seen, in few colours, as a small file."""
    path = PICTURES / f"{name}.png"
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)


def speed(measurements: str) -> None:
    """Bars of the first table of times."""
    table = measurements.partition("## Training and classifying")[2].partition("```")[0]
    rows = re.findall(r"^\| (\w[^|]*) \| ([\d.,]+) \| ([\d.]+) \|", table, re.MULTILINE)
    names, seconds, times = zip(*rows, strict=True)
    values = [float(value.replace(",", "")) for value in seconds]
    figure, axes = plt.subplots(figsize=(9, 2.4), layout="constrained")
    bars = axes.barh(names, values, color=["tab:blue", "tab:blue", "tab:gray", "tab:gray"])
    axes.bar_label(bars, [f" {s} s, {t} times" for s, t in zip(seconds, times, strict=True)])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.8 * max(values))
    axes.set_xlabel("seconds")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURES / "speed.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
