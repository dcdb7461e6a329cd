"""The page in a browser: type, read the prediction, classify a table, with the keyboard alone, wide and narrow."""

import csv
import io
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch

from gpt_classifier import TextClassifier
from gpt_classifier.decision.rule import Decision
from gpt_classifier.inference.bundle import Bundle
from gpt_classifier.inference.model_folder import save_folder
from gpt_classifier.serve.access import listen
from gpt_classifier.serve.api import server, service
from gpt_classifier.serve.limits import Limits
from gpt_classifier.text.encoder import TextEncoder
from gpt_classifier.training.network import build_network

playwright = pytest.importorskip("playwright.sync_api")

SHOTS = os.environ.get("PAGE_SCREENSHOTS")  # a folder for a picture of the page at the end of each test
WIN = "Dear friend, you have won a free cruise, call now to claim your prize"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        own = driver.chromium.executable_path  # what `playwright install chromium` downloads
        system = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "chrome"))
        found = os.environ.get("CHROMIUM") or (own if Path(own).exists() else next(filter(None, system), None))
        if found is None:
            pytest.skip("no Chromium on PATH, in CHROMIUM or from `playwright install chromium`")
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def serve():
    """Serves a model in a thread and gives its address."""
    running = []

    def start(decision: Decision | None = None, model="checkpoints/sms-spam", **settings) -> str:
        classifier = TextClassifier.load(model)
        classifier.decision = decision or classifier.decision
        limits, listening = Limits(rate=1000, seconds=1), listen("127.0.0.1", 0)
        running_server = server(service(classifier, limits, **settings), limits)
        thread = threading.Thread(target=running_server.run, args=([listening],))
        thread.start()
        running.append((running_server, thread))
        while not running_server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield start
    for running_server, thread in running:
        running_server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def address(serve) -> str:
    return serve()


@pytest.fixture
def opened(browser, request):
    """Opens a page, and asserts at the end that it had no errors and asked nobody but the service."""
    contexts, troubles = [], []

    def open_at(address: str, width: int = 1280, **settings):
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda said: troubles.append(said.text) if "Security Policy" in said.text else None)
        page.on("request", lambda r: troubles.append(r.url) if not r.url.startswith((address, "blob:")) else None)
        page.goto(address)
        return page

    yield open_at
    for context in contexts:
        if SHOTS:
            context.pages[0].screenshot(path=Path(SHOTS) / f"{request.node.name}.png", full_page=True)
        context.close()
    assert troubles == []


def classify(page, text: str) -> str:
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Classify", exact=True).click()
    playwright.expect(page.locator("#answer")).not_to_be_empty()
    playwright.expect(page.locator("#classify")).to_be_enabled()
    return page.locator("#answer").inner_text()


def test_a_message_has_a_label_bars_and_a_trace(opened, address):
    page = opened(address)
    expected = TextClassifier.load("checkpoints/sms-spam").predict(WIN)
    assert classify(page, WIN) == f"spam, probability {expected.probability:.3f}"
    assert page.locator("#answer").get_attribute("aria-live") == "polite"
    assert page.locator("#about").inner_text() == "2 classes: ham, spam"
    assert page.locator("#rule").inner_text() == "The prediction is the most probable class."
    wide = [page.locator(".fill").nth(n).bounding_box()["width"] for n in range(2)]
    probabilities = expected.probabilities
    assert wide[0] / sum(wide) == pytest.approx(probabilities["spam"], abs=0.02)
    assert page.locator("#bars li").first.inner_text().split() == ["spam", f"{probabilities['spam']:.3f}"]
    assert page.locator("#traced").inner_text() == WIN
    assert page.locator("#traced span").all_inner_texts() == WIN.split()
    assert page.locator("#traced .decided").all_inner_texts() == ["free"]
    assert page.locator("#sentences").inner_text().startswith("The prediction spam is reached at word 7")
    page.get_by_text("Every word in a table").click()
    assert page.locator("#words tr").last.inner_text().split()[:2] == ["prize", "spam"]


def test_a_text_is_shown_and_never_run(opened, address):
    page = opened(address)
    text = "<img src=x onerror=\"document.title='run'\"> 🙂 <b>bold</b>"
    assert "probability" in classify(page, text)
    assert page.locator("#traced").inner_text() == text
    assert page.locator("#traced b, #traced img, #words b, #words img").count() == 0
    assert page.title() == "Text classifier"


def test_a_table_is_classified_and_downloaded(opened, address, tmp_path):
    page = opened(address)
    messages = tmp_path / "my messages.csv"
    messages.write_text(
        f'id,note,sms\n1,a,"{WIN}"\n2,<b>b</b>,"=See ""you"",\nmum"\n' + "3,c,hello\n" * 10, encoding="utf-8"
    )
    page.get_by_label("CSV file").set_input_files(messages)
    column = page.get_by_label("Column of the texts")
    column.wait_for()
    assert column.input_value() == "sms"
    assert page.locator("#table-status").inner_text() == "my messages.csv: 12 rows; the first 5 are shown."
    column.select_option("note")
    assert page.locator("#rows .chosen").all_inner_texts()[:2] == ["a", "<b>b</b>"]
    column.select_option("sms")
    page.get_by_role("button", name="Classify all rows").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download results").click()
    assert download.value.suggested_filename == "my messages-predictions.csv"
    found = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8-sig"))))
    assert [row["predicted"] for row in found[:2]] == ["spam", "ham"]
    assert [row["sms"] for row in found[:2]] == [WIN, '\'=See "you",\nmum']
    assert len(found) == 12
    assert page.locator("#table-status").inner_text() == "12 rows classified; the first 5 are shown."
    assert page.locator("#rows .chosen").all_inner_texts() == ["spam", "ham", "ham", "ham", "ham"]
    assert page.locator("#rows tr").nth(2).locator("td").last.text_content() == found[1]["sms"]


def test_a_dropped_file_is_taken(opened, address):
    page = opened(address)
    data = page.evaluate_handle(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["text\\nhello\\n"], "a.csv"));
          return data;
        }"""
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    page.get_by_label("Column of the texts").wait_for()
    assert page.locator("#table-status").inner_text() == "a.csv: 1 row."


def test_a_file_that_is_no_table_is_said(opened, address, tmp_path):
    page = opened(address)
    (tmp_path / "bad.csv").write_bytes(b"text\nsch\xf6n\n")
    page.get_by_label("CSV file").set_input_files(tmp_path / "bad.csv")
    playwright.expect(page.locator("#table-status.wrong")).to_contain_text("not UTF-8")


def test_the_keyboard_is_enough(opened, address):
    page = opened(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type(WIN)
    page.keyboard.press("Control+Enter")
    page.locator("#result").wait_for()
    assert page.locator("#answer").inner_text().startswith("spam")
    visited = []
    for _ in range(5):
        page.keyboard.press("Tab")
        visited.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert visited[0] == "classify"
    assert "SUMMARY" in visited
    assert "file" in visited
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_a_token_is_asked_for_and_used(opened, serve):
    page = opened(serve(token="s3cret"))
    token = page.get_by_label("Token of this service")
    token.wait_for()
    token.fill("wrong")
    token.press("Enter")
    page.locator("#about.wrong").wait_for()
    token.fill("s3cret")
    token.press("Enter")
    token.wait_for(state="hidden")
    assert classify(page, WIN).startswith("spam")


def test_thresholds_and_abstentions_are_shown(opened, serve):
    page = opened(serve(Decision(thresholds=[1.0, 1.0])))
    probability = f"{TextClassifier.load('checkpoints/sms-spam').predict(WIN).probability:.3f}"
    assert classify(page, WIN) == f"unsure; most probable is spam, {probability}"
    assert page.locator(".threshold").count() == 2
    assert f"{probability} (needs 1.000)" in page.locator("#bars").inner_text()
    assert "abstains (unsure) where none does" in page.locator("#rule").inner_text()


def test_of_many_classes_ten_are_shown_at_first_and_their_names_are_text(opened, serve, tmp_path):
    torch.manual_seed(0)
    text_encoder, names = TextEncoder("bytes", 64), [f"<b>class</b> {number}" for number in range(50)]
    network = build_network({"gpt": {"n_layer": 1, "n_head": 2, "n_embd": 8}}, "random", 50, text_encoder)
    save_folder(tmp_path / "model", Bundle(network, text_encoder, names), "")
    page = opened(serve(model=tmp_path / "model"), 390)
    assert classify(page, WIN).startswith("<b>class</b> ")
    assert page.locator("#about").inner_text().endswith("<b>class</b> 9, …")
    assert page.locator("#bars li").count() == 10
    assert not page.locator("#rest li").first.is_visible()
    page.get_by_text("The other 40").click()
    shown = [item.partition("\n")[0] for item in page.locator(".bars li").all_inner_texts()]
    assert sorted(shown) == sorted(names)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_traces_there_is_none(opened, serve):
    page = opened(serve(Decision(multi_label=True)))
    assert classify(page, WIN).startswith("spam, probability 0.")
    assert not page.locator("#trace").is_visible()
    assert page.locator("#about").inner_text() == "2 labels: ham, spam"


def test_a_service_that_is_gone_is_said(opened, address):
    page = opened(address)
    page.locator("#about", has_text="classes").wait_for()
    page.route("**/predict", lambda route: route.abort())
    assert classify(page, WIN) == "The service does not answer: is it still running?"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_can_be_read(opened, address, tmp_path, width, scheme):
    page = opened(address, width, color_scheme=scheme)
    classify(page, f"{WIN} {'W' * 120}")
    table = tmp_path / "messages.csv"
    table.write_text(f'id,topic,text\n1,prizes,"{WIN}"\n2,family,"See you at five, mum"\n')
    page.get_by_label("CSV file").set_input_files(table)
    page.get_by_role("button", name="Classify all rows").click()
    page.locator("#ready").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for place in ("#answer", "#rule", "#classify", "#about", "#traced .decided", "#words"):
        assert page.locator(place).evaluate(CONTRAST) >= 4.5, place


# The contrast of an element's letters with what lies behind them, as WCAG 2 defines it.
CONTRAST = """(element) => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.push(numbers(getComputedStyle(at).backgroundColor));
  let behind = [255, 255, 255];
  for (const [r, g, b, a = 1] of layers.reverse()) behind = [r, g, b].map((v, i) => a * v + (1 - a) * behind[i]);
  const luminance = (colour) => colour.slice(0, 3)
    .map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const pair = [luminance(behind), luminance(numbers(getComputedStyle(element).color))].sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
}"""
