"""The service predicts as the classifier does, many requests at once, within its limits, and says what is wrong."""

import asyncio
import csv
import http.client
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx2
import pandas as pd
import pytest
from starlette.testclient import TestClient

from gpt_classifier import TextClassifier
from gpt_classifier.cli.main import main
from gpt_classifier.decision.rule import Decision
from gpt_classifier.errors import InputError
from gpt_classifier.inference import trace_text
from gpt_classifier.inference.classifier import Prediction
from gpt_classifier.serve.about import describe_rule, find_thresholds
from gpt_classifier.serve.access import listen
from gpt_classifier.serve.api import server, service
from gpt_classifier.serve.batching import Batcher
from gpt_classifier.serve.limits import Limits, Rate
from gpt_classifier.serve.table import add_predictions
from gpt_classifier.text import normalize

MODEL = "checkpoints/sms-spam"
WIN = "Dear friend, you have won a free cruise, call now to claim your prize"
TEXTS = [WIN, "see you at five", "", "مرحبا 🙂", "<b>bold</b>\nand more", "x" * 500]
PATIENT = Limits(rate=10_000)  # for tests that ask often


@pytest.fixture(scope="module")
def classifier() -> TextClassifier:
    return TextClassifier.load(MODEL)


@pytest.fixture(scope="module")
def client(classifier):
    with TestClient(service(classifier, PATIENT)) as client:
        yield client


def decided(classifier: TextClassifier, decision: Decision) -> TextClassifier:
    """The same network with another rule."""
    other = TextClassifier.load(MODEL)
    other.decision = decision
    return other


def value(metrics: str, name: str) -> float:
    return float(re.search(rf"^{re.escape(name)} (\S+)$", metrics, re.MULTILINE)[1])


def error(response) -> str:
    said = response.json()
    assert set(said) == {"error"}
    assert "\n" not in said["error"]
    return said["error"]


# ---------------------------------------------------------------- predictions


def test_predictions_are_the_classifiers(client, classifier):
    assert client.post("/predict", json={"texts": []}).json() == {"predictions": []}
    responses = client.post("/predict", json={"texts": TEXTS}).json()["predictions"]
    for response, expected in zip(responses, classifier.predict(TEXTS), strict=True):
        assert response["label"] == expected.label
        assert response["probability"] == pytest.approx(expected.probability)
        assert response["probabilities"] == pytest.approx(expected.probabilities)


def test_labels_of_a_multi_label_model_are_a_list(classifier):
    several = decided(classifier, Decision(multi_label=True, thresholds=[0.0, 0.0]))
    with TestClient(service(several)) as client:
        (response,) = client.post("/predict", json={"texts": ["hello"]}).json()["predictions"]
    assert response["labels"] == ["ham", "spam"]


def test_a_trace_is_the_classifiers(client, classifier):
    response, expected = client.post("/trace", json={"text": WIN}).json(), classifier.trace(WIN)
    assert response["probabilities"]["spam"] == pytest.approx(expected.probabilities[:, 1].tolist())
    assert (response["answer"], response["decided_at"]) == (expected.answer, expected.decided_at)
    assert [WIN[start:end] for start, end, _ in response["words"]] == WIN.split()
    assert response["sentences"][0].startswith("The prediction spam is reached at word 7 of 14")
    assert response["decided_word"] == 6


@pytest.mark.parametrize("text", ["a" * 100_000, "a " * 50_000, "🙂" * 100_000, "\x1b" * 100_000])
def test_the_longest_text_has_a_trace_and_others_are_classified_meanwhile(client, text, monkeypatch):
    """Its sentences are made beside the loop, and their work grows with the text alone."""
    measured, tasks = [], []
    whole, told = normalize.count_columns, trace_text.sentences
    monkeypatch.setattr(normalize, "count_columns", lambda name: measured.append(len(name)) or whole(name))
    monkeypatch.setattr(trace_text, "sentences", lambda trace: tasks.append(asyncio._get_running_loop()) or told(trace))
    assert client.post("/trace", json={"text": text}).status_code == 200
    assert tasks == [None]
    assert sum(measured) < 2 * len(text)


def test_a_model_without_traces_says_so_before_it_is_asked(classifier):
    several = decided(classifier, Decision(multi_label=True))
    with TestClient(service(several)) as client:
        assert "is multi-label" in client.get("/model").json()["untraceable"]
        refused = client.post("/trace", json={"text": "hello"})
    assert refused.status_code == 400
    assert "is multi-label" in error(refused)


RULES = {
    "the most probable class": (Decision(), "most probable class", {}),
    "one class": (Decision(positive=1, threshold=0.9), "spam if that has probability 0.9 or more", {"spam": 0.9}),
    "a threshold each": (
        Decision(thresholds=[0.6, 0.7]),
        "abstains (unsure) where none does",
        {"ham": 0.6, "spam": 0.7},
    ),
    "sets": (Decision(set_threshold=0.2), "abstains (unsure) where that is not just one", {"ham": 0.2, "spam": 0.2}),
    "costs": (Decision(costs=[[0, 1], [1, 0]]), "lowest expected cost", {}),
    "labels": (Decision(multi_label=True), "all labels that reach 0.5 are predicted", {"ham": 0.5, "spam": 0.5}),
    "temperature": (Decision(temperature=1.5), "temperature 1.5", {}),
    "what was asked": (Decision(positive=1, threshold=0.9, asked={"max_fpr": 0.01}), "max_fpr 0.01", {"spam": 0.9}),
}


@pytest.mark.parametrize(("decision", "said", "needed"), RULES.values(), ids=RULES)
def test_the_operating_point_is_told(decision, said, needed):
    assert said in " ".join(describe_rule(decision, ["ham", "spam"]))
    assert find_thresholds(decision, ["ham", "spam"]) == needed


# ---------------------------------------------------------------- tables


def rows(content: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content)))


def test_a_table_comes_back_with_predictions_and_probabilities(client, classifier):
    table = f'id;note\n01;"{WIN}"\n2;"two\nlines, and a comma"\n3;\n'.encode()
    response = client.post("/table?text_column=note", content=table)
    assert response.headers["content-type"].startswith("text/csv")
    found = rows(response.text)
    assert [(row["id"], row["note"]) for row in found] == [("01", WIN), ("2", "two\nlines, and a comma"), ("3", "")]
    for row, expected in zip(found, classifier.predict([row["note"] for row in found]), strict=True):
        assert row["predicted"] == expected.label
        assert float(row["probability_spam"]) == pytest.approx(expected.probabilities["spam"], abs=1e-6)


def test_the_column_need_not_be_named_where_it_is_clear(client):
    assert [row["predicted"] for row in rows(client.post("/table", content=b"body\nhello\n").text)] == ["ham"]
    assert [row["predicted"] for row in rows(client.post("/table", content=b"a,text\n1,hello\n").text)] == ["ham"]


AWKWARD = {  # the cells of a table, and what a spreadsheet gets
    "a\rb": "a\rb", "=1\r+2": "'=1\r+2", "x\0y": "x\0y", "\0=1": "'\0=1", "\ufeff=1": "'\ufeff=1",
    "\u200b@a": "'\u200b@a", "\t1": "'\t1", "\r": "'\r", "\uff1d1": "'\uff1d1", "-1": "-1", "-inf": "'-inf",
    'a"b,\r\n': 'a"b,\r\n', "  ": "  ", "q\u2028w\x85": "q\u2028w\x85", "'tis": "''tis", "": "",
    "@a": "'@a", " +b": "' +b", "-5": "-5", "+1.5e3": "+1.5e3", "a=b": "a=b", "é": "é",
}  # fmt: skip


def test_awkward_cells_keep_their_rows_and_formulas_become_texts_for_a_spreadsheet(client):
    sent = io.StringIO()
    csv.writer(sent, quoting=csv.QUOTE_ALL).writerows([["text", "\ufeff=a"], *(["hello", cell] for cell in AWKWARD)])
    responses = [client.post(f"/table{query}", content=sent.getvalue().encode()) for query in ("", "?for=spreadsheet")]
    exact, safe = (list(csv.reader(io.StringIO(each.content.decode("utf-8-sig"), newline=""))) for each in responses)
    assert [row[:2] for row in exact] == [["text", "\ufeff=a"], *(["hello", cell] for cell in AWKWARD)]
    assert [row[1] for row in safe] == ["'\ufeff=a", *AWKWARD.values()]
    assert [row[2:] for row in safe] == [row[2:] for row in exact]
    assert responses[1].content.startswith(b"\xef\xbb\xbf")


def test_names_of_classes_are_no_formulas_in_a_spreadsheet():
    formulas = {"=cmd|' /C calc'!A0", "-x", "@a", "\ufeff=1"}
    names = [*formulas, "+1", "a\rb"]
    predictions = [Prediction(name, 0.2, dict.fromkeys(names, 0.2)) for name in names]
    texts = pd.DataFrame({"text": ["hello"] * len(names)}, dtype=object)
    for for_spreadsheet in (False, True):
        content = add_predictions(texts, predictions, names, for_spreadsheet).decode("utf-8-sig")
        header, *rows = csv.reader(io.StringIO(content, newline=""))
        expected = [f"'{name}" if for_spreadsheet and name in formulas else name for name in names]
        assert header == ["text", "predicted", *(f"probability_{name}" for name in names)]
        assert rows == [["hello", name, *["0.200000"] * len(names)] for name in expected]


def test_a_tables_first_rows_are_shown(client):
    table = "a,text\n" + "".join(f"{number},{'x' * 900}\n" for number in range(20))
    head = client.post("/table/head", content=table.encode()).json()
    assert (head["columns"], head["count"]) == (["a", "text"], 20)
    assert head["rows"] == [[str(number), "x" * 300] for number in range(5)]


TABLES = {
    "no such column": ("?text_column=txet", b"text,a\nx,1\n", "no column 'txet': did you mean text?"),
    "an unclear column": ("", b"a,b\n1,2\n", "its columns are a, b"),
    "a column twice": ("", b"text,text\n1,2\n", "two columns 'text'"),
    "nothing": ("", b"", "the table is empty"),
    "no rows": ("", b"text\n", "the table has a header but no rows"),
    "an open quote": ("", b'text\n"hello\n', "never closed"),
    "another encoding": ("", "text\nschön\n".encode("latin-1"), "not UTF-8 at byte 8"),
    "a workbook": ("", b"PK\x03\x04" + bytes(20), "the table is a workbook (.xlsx, .ods)"),
    "Parquet": ("", b"PAR1" + bytes(20), "the table is a Parquet file, expected CSV"),
    "its own columns": ("", b"text,predicted\nx,1\n", "predictions have themselves"),
    "a header of millions": ("", b"a" + b"," * 2_000_000 + b"\n1\n", "2,000,001 columns, expected at most 1,000"),
    "too long a text": ("", b"text\n" + b"x" * 100_001, "texts[0] has 100,001 characters"),
}


@pytest.mark.parametrize(("query", "content", "said"), TABLES.values(), ids=TABLES)
def test_a_table_that_cannot_be_read_is_refused_in_one_line(client, query, content, said):
    refused = client.post(f"/table{query}", content=content)
    assert refused.status_code == 400
    assert said in error(refused)
    assert "/tmp" not in error(refused)


# ---------------------------------------------------------------- many at once


class Gate:
    """A classifier that notes how many texts each call has; while the gate is shut, calls wait."""

    def __init__(self, classifier: TextClassifier) -> None:
        self.classifier, self.sizes, self.open = classifier, [], threading.Event()

    def __getattr__(self, name):
        return getattr(self.classifier, name)

    def predict(self, texts):
        self.sizes.append(len(texts))
        assert self.open.wait(30)
        if "boom" in texts:
            raise RuntimeError("boom")
        return self.classifier.predict(texts)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def all_at_once(gate: Gate, limits: Limits, requests: list[list[str]], waiting: int):
    """Sends the first request, the others while it runs, and opens the gate when so many texts wait."""

    async def run():
        app = service(gate, limits)
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as client:
            tasks = [asyncio.create_task(client.post("/predict", json={"texts": requests[0]}))]
            await until(lambda: gate.sizes)
            tasks += [asyncio.create_task(client.post("/predict", json={"texts": texts})) for texts in requests[1:]]
            while value((await client.get("/metrics")).text, "gpt_classifier_waiting_texts") < waiting:
                await asyncio.sleep(0.01)
            early = [task.result() for task in tasks if task.done()]
            gate.open.set()
            return await asyncio.gather(*tasks), early

    return asyncio.run(run())


def test_what_waits_is_classified_in_one_call_and_everyone_gets_his_own_prediction(classifier):
    gate, requests = Gate(classifier), [[f"{WIN if n % 3 else 'hi'} {n}"] for n in range(30)]
    responses, _ = all_at_once(gate, PATIENT, requests, waiting=30)
    assert gate.sizes == [1, 29]
    for response, texts in zip(responses, requests, strict=True):
        (got,) = response.json()["predictions"]
        assert got["probabilities"] == pytest.approx(classifier.predict(texts)[0].probabilities, rel=1e-4)


def test_a_call_has_no_more_texts_than_a_batch_and_a_long_request_lets_others_in(classifier):
    gate = Gate(classifier)
    responses, _ = all_at_once(gate, replace(PATIENT, batch=8), [["long"] * 20, ["a"] * 3, ["b"] * 3], waiting=26)
    assert gate.sizes == [8, 6, 8, 4]  # the two short ones come between the long one's parts
    assert [len(response.json()["predictions"]) for response in responses] == [20, 3, 3]


def test_a_text_that_fails_fails_its_own_request_only(classifier):
    gate = Gate(classifier)
    responses, _ = all_at_once(gate, PATIENT, [["first"], ["fine"], ["boom"], ["fine too"]], waiting=4)
    assert [response.status_code for response in responses] == [200, 200, 500, 200]
    assert error(responses[2]) == "the service failed (RuntimeError): its log says where"


def test_what_nobody_waits_for_is_not_classified(classifier):
    async def run(gate: Gate):
        batcher = Batcher(gate, 64, 100)
        first = asyncio.create_task(batcher.predict(["first"]))
        await until(lambda: gate.sizes)
        gone, last = (asyncio.create_task(batcher.predict([text])) for text in ("gone", "last"))
        await asyncio.sleep(0)
        gone.cancel()
        gate.open.set()
        await batcher.close()
        assert batcher.waiting == 0
        return [len(await task) for task in (first, last)]

    gate = Gate(classifier)
    assert asyncio.run(run(gate)) == [1, 1]
    assert gate.sizes == [1, 1]


def test_a_full_queue_refuses_at_once(classifier):
    limits = replace(PATIENT, texts=10, waiting=12)
    responses, early = all_at_once(Gate(classifier), limits, [["a"] * 6, ["b"] * 6, ["c"]], waiting=12)
    assert [response.status_code for response in early] == [503]
    assert [response.status_code for response in responses] == [200, 200, 503]
    assert "too many texts wait" in error(responses[2])
    assert responses[2].headers["retry-after"] == "1"


# ---------------------------------------------------------------- limits


BAD = {
    "no JSON": (b"hello", "the body is not JSON"),
    "deep JSON": (b'{"texts":' + b"[" * 100_000, "the body is not JSON"),
    "no UTF-8": (b'{"texts": ["\xff"]}', "the body is not JSON"),
    "a list": (b'["hello"]', "the body is no object"),
    "another field": (b'{"text": "hello"}', 'the body has text: expected {"texts": ["a text", ...]}'),
    "a text for a list": (b'{"texts": "hello"}', "texts is no list"),
    "a number": (b'{"texts": ["a", 5]}', "texts[1] is of type int, expected a text"),
    "half a pair": (b'{"texts": ["\\ud83d"]}', "texts[0] has half of a surrogate pair"),
    "half a pair as a name": (b'{"\\ud83d": ["a"]}', "the body has \N{REPLACEMENT CHARACTER}: expected"),
    "a long text": (json.dumps({"texts": ["x" * 100_001]}).encode(), "texts[0] has 100,001 characters"),
    "many texts": (json.dumps({"texts": [""] * 10_001}).encode(), "there are 10,001 texts, expected at most 10,000"),
}


@pytest.mark.parametrize(("body", "said"), BAD.values(), ids=BAD)
def test_a_request_that_is_none_is_refused_in_one_line(client, body, said):
    refused = client.post("/predict", content=body)
    assert refused.status_code == 400
    assert said in error(refused)


def test_a_long_body_is_refused_also_in_pieces(classifier):
    with TestClient(service(classifier, Limits(body=1000))) as client:
        for body in (b"x" * 2000, iter([b"x" * 500, b"x" * 1500])):
            refused = client.post("/predict", content=body)
            assert refused.status_code == 413
            assert "more than 1,000 bytes" in error(refused)


def test_a_table_of_many_rows_is_refused(classifier):
    with TestClient(service(classifier, Limits(texts=3))) as client:
        assert "more than 3 rows" in error(client.post("/table", content=b"text\na\nb\nc\nd\n"))
        assert client.post("/table", content=b"text\na\nb\nc\n").status_code == 200


def test_a_slow_body_is_refused(classifier):
    async def slow():
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    async def run():
        transport = httpx2.ASGITransport(app=service(classifier, replace(PATIENT, seconds=1)))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as client:
            return await client.post("/predict", content=slow())

    refused = asyncio.run(run())
    assert refused.status_code == 408
    assert "more than 1 s" in error(refused)


def test_who_asks_too_often_is_told_when_to_come_back(classifier):
    with TestClient(service(classifier, Limits(rate=0.5))) as client:
        assert client.post("/predict", json={"texts": ["a"]}).status_code == 200
        refused = client.post("/predict", json={"texts": ["a"]})
        assert refused.status_code == 429
        assert error(refused) == "too many requests: at most 0.5 per second"
        assert 1 <= int(refused.headers["retry-after"]) <= 2
        assert client.get("/health").status_code == 200


def test_a_rate_allows_a_seconds_worth_at_once_then_one_each_interval():
    rate = Rate(5)
    assert [rate.wait("a", 100.0) == 0 for _ in range(6)] == [True] * 5 + [False]
    wait = rate.wait("a", 100.0)
    assert wait == pytest.approx(0.2)
    assert rate.wait("b", 100.0) == 0
    assert rate.wait("a", 100.0 + wait) == 0
    assert rate.wait("a", 100.0 + wait) > 0


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"rate": -1.0}, {"rate": float("nan")}, {"texts": 9, "waiting": 8}])
def test_limits_that_allow_nothing_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong)) if len(wrong) == 1 else "waiting is 8"):
        Limits(**wrong)


# ---------------------------------------------------------------- who may ask


def test_a_token_is_asked_for(classifier):
    with TestClient(service(classifier, token="s3cret")) as client:
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}):
            for path in ("/model", "/metrics", "/openapi.json"):
                assert client.get(path, headers=header).status_code == 401
            refused = client.post("/predict", json={"texts": ["a"]}, headers=header)
            assert refused.status_code == 401
            assert "Authorization: Bearer" in error(refused)
        right = {"Authorization": "Bearer s3cret"}
        assert client.post("/predict", json={"texts": ["a"]}, headers=right).status_code == 200
        assert client.get("/model", headers=right).status_code == 200
        assert {client.get(path).status_code for path in ("/", "/page.js", "/page.css", "/health")} == {200}


def test_tokens_cannot_be_tried_quickly(classifier):
    with TestClient(service(classifier, Limits(rate=2), token="s3cret")) as client:
        tried = [client.get("/model", headers={"Authorization": f"Bearer {n}"}).status_code for n in range(4)]
    assert tried == [401, 401, 429, 429]


def test_other_sites_pages_are_refused(classifier):
    with TestClient(service(classifier, hosts=("localhost", "[::1]")), base_url="http://localhost") as client:
        assert client.get("/model").status_code == 200
        assert client.get("/model", headers={"Host": "[::1]:8000"}).status_code == 200
        assert client.get("/model", headers={"Host": "evil.example"}).status_code == 400  # its name leads here
        assert client.get("/model", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert client.get("/model", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_the_page_loads_nothing_from_elsewhere(client, classifier):
    with served(classifier, PATIENT) as address:
        policy = ask(address, "/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    files = {name: client.get(name).text for name in ("/", "/page.js", "/page.css")}
    assert not any(
        re.search(r"https?://|@import|innerHTML|insertAdjacentHTML|document\.write", t) for t in files.values()
    )
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script>", files["/"])
    assert set(re.findall(r'(?:src|href)="([^"#]+)"', files["/"])) == {"icon.svg", "page.css", "page.js"}


# ---------------------------------------------------------------- metrics, errors, the command


def test_metrics_count(classifier):
    with TestClient(service(classifier, replace(PATIENT, batch=2))) as client:
        client.post("/predict", json={"texts": [WIN, "hello", "hi"]})
        client.post("/predict", content=b"")
        client.get("/nowhere")
        said = client.get("/metrics").text
    assert value(said, 'gpt_classifier_requests_total{path="/predict",status="200"}') == 1
    assert value(said, 'gpt_classifier_requests_total{path="/predict",status="400"}') == 1
    assert value(said, 'gpt_classifier_requests_total{path="other",status="404"}') == 1
    assert value(said, 'gpt_classifier_answers_total{label="spam"}') == 1
    assert value(said, 'gpt_classifier_answers_total{label="ham"}') == 2
    assert value(said, "gpt_classifier_batch_texts_count") == 2
    assert value(said, "gpt_classifier_batch_texts_sum") == 3
    assert value(said, 'gpt_classifier_request_seconds_count{path="/predict"}') == 2
    assert value(said, "gpt_classifier_waiting_texts") == 0


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/predict", 405), ("GET", "/../secret", 404), ("POST", "/", 405)]
)
def test_what_is_not_there_is_an_error_in_json(client, method, path, status):
    refused = client.request(method, path)
    assert refused.status_code == status
    assert error(refused)


def said(capsys, *words: str) -> str:
    assert main(["app", *words]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--host", "0.0.0.0"], "say --no-token if everyone may use it"),
        (["--host", "0.0.0.0", "--token", ""], "expected ASCII characters without spaces"),
        (["--token", "a b"], "expected ASCII characters without spaces"),
        (["--token", "a", "--no-token"], "--no-token contradicts it"),
        (["--port", "70000"], "--port is 70000"),
        (["--model", "nowhere"], "the model is the first word"),
        (["--rate", "0"], "rate is 0.0"),
        (["--host", "nowhere.invalid", "--no-token"], "cannot listen at nowhere.invalid"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(capsys, words, expected):
    assert expected in said(capsys, MODEL, *words)


def test_a_port_that_is_taken_is_said(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert "choose another --port" in said(capsys, MODEL, "--port", str(other.getsockname()[1]))


@contextmanager
def served(classifier: TextClassifier, limits: Limits) -> Iterator[tuple[str, int]]:
    """A service on a port of this machine."""
    listening = listen("127.0.0.1", 0)
    running = server(service(classifier, limits), limits)
    thread = threading.Thread(target=running.run, args=([listening],))
    thread.start()
    try:
        yield listening.getsockname()
    finally:
        running.should_exit = True
        thread.join()


def ask(address: tuple[str, int], path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.text = response.read().decode()
        return response
    finally:
        connection.close()


def test_more_connections_than_allowed_are_refused(classifier):
    """Each of those that are allowed waits for its response."""
    gate = Gate(classifier)
    with served(gate, Limits(connections=4)) as address:
        asking = [http.client.HTTPConnection(*address, timeout=30) for _ in range(3)]
        try:
            for connection in asking:
                connection.request("POST", "/predict", json.dumps({"texts": [WIN]}))
                time.sleep(0.3)  # so that it is with the service
            assert ask(address, "/health").status == 503
        finally:
            gate.open.set()
        assert [connection.getresponse().status for connection in asking] == [200] * 3
        for connection in asking:
            connection.close()
        time.sleep(0.3)
        assert ask(address, "/health").status == 200


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\nX: ", b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"],
    ids=["nothing", "a part of the headers", "no body"],
)
def test_connections_without_a_whole_request_take_no_place_of_others(classifier, sent):
    with served(classifier, Limits(connections=16, rate=10_000)) as address:
        slow = []
        for _ in range(60):
            slow.append(socket.create_connection(address))
            slow[-1].sendall(sent)
            assert ask(address, "/health").status == 200
        assert slow[0].recv(1) == b""  # closed
        slow[-1].settimeout(0.2)
        with pytest.raises(TimeoutError):
            slow[-1].recv(1)
        for each in slow:
            each.close()


def test_headers_have_limited_time(classifier):
    with served(classifier, Limits(seconds=1)) as address, socket.create_connection(address, timeout=20) as slow:
        began = time.monotonic()
        slow.sendall(b"GET / HTTP/1.1\r\n")
        time.sleep(0.5)
        slow.sendall(b"X: y\r\n")  # to send a little now and then does not help
        assert slow.recv(1) == b""
        assert time.monotonic() - began < 10


def test_a_missing_extra_is_said(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "gpt_classifier.serve.api", raising=False)
    assert "app needs uvicorn: pip install 'gpt-classifier[app]'" in said(capsys, MODEL)


def test_sigterm_ends_the_service_after_what_runs():
    words = [sys.executable, "-m", "gpt_classifier", "app", MODEL, "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        address = re.match(r"http://127\.0\.0\.1:(\d+) classifies", process.stdout.readline())
        port = int(address[1])
        running = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        texts = [f"{WIN} {number}" * 3 for number in range(800)]
        running.request("POST", "/predict", json.dumps({"texts": texts}))
        while not waiting(port):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        response = running.getresponse()
        assert response.status == 200
        assert len(json.loads(response.read())["predictions"]) == 800
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
    with pytest.raises(ConnectionRefusedError):
        waiting(port)


def waiting(port: int) -> float:
    return value(ask(("127.0.0.1", port), "/metrics").text, "gpt_classifier_waiting_texts")


# ---------------------------------------------------------------- whatever is sent

ODD = [
    None, True, -1, 0, 10**30, 1e308, float("nan"), "", "a text", "\ud800", "\x00\u202e", "x" * 3000, "é" * 200,
    [], [[]], ["a"] * 30, {}, {"text": "a"}, {"a": {"b": []}}, [None, 1], "text", "ham",
]  # fmt: skip
POSTED = ["/predict", "/trace", "/table", "/table/head", "/predict/../trace", "/nothing"]
PATHS = [*POSTED, "/", "/health", "/metrics", "/model", "/page.js"]
KINDS = ["application/json", "text/csv", "application/json; charset=utf-16", "multipart/form-data", "", "é".encode()]
NAMES = ["text", "texts", "decide", "top", "trace", "x"]
BODIES = [b"[" * 5000, b'text\n"a', b"PK\x03\x04" + b"x" * 50, b"\xff\xfe\x00", b"text,label\na,b,c\n"]


def odd_request(draw):
    """A method, a path, headers and a body, of which most are wrong."""
    body = {draw.choice(NAMES): draw.choice(ODD) for _ in range(draw.randint(0, 3))}
    content = json.dumps(draw.choice([body, body, [body], draw.choice(ODD)])).encode("utf-8", "surrogatepass")
    if draw.random() < 0.3:
        content = bytearray(content or b"{}")
        for _ in range(draw.randint(1, 5)):
            content[draw.randrange(len(content))] = draw.randrange(256)
    if draw.random() < 0.1:
        content = draw.choice(BODIES)
    kind = draw.choice(KINDS)
    headers = [("content-type", kind), ("accept", draw.choice(["*/*", "text/csv", "x" * 500]))]
    method = draw.choice(["POST", "POST", "POST", "GET", "PUT", "OPTIONS", "HEAD"])
    return method, draw.choice(POSTED if method == "POST" else PATHS), headers, bytes(content)


def test_no_request_is_an_error_of_the_service(client):
    draw, wrong = random.Random(0), []
    for case in range(int(os.environ.get("FUZZ_CASES", "300"))):
        method, path, headers, content = odd_request(draw)
        began = time.monotonic()
        response = client.request(method, path, headers=headers, content=content)
        fine = response.status_code < 500 and time.monotonic() - began < 20
        if fine and response.status_code >= 400 and method != "HEAD":
            fine = "\n" not in error(response)
        if not fine:
            wrong.append((case, method, path, headers, content[:80], response.status_code))
    assert not wrong
