"""The server's paths: what is answered, what is refused and how, and that limits hold."""

import json
import logging

import numpy as np
import pytest
import torch
from conftest import shape_sample
from PIL import Image
from serving_parts import PNG, Colours, ask, behind, boxes, encoded, png, refused, serving, until

from rcnn import api
from rcnn.serving.app import create_app
from rcnn.serving.limits import Limits
from rcnn.serving.service import SHAPES, Service


@pytest.fixture(scope="module")
def server():
    with serving(body=20_000, pixels=4000, pictures=3, seconds=10.0) as pair:
        yield pair


@pytest.fixture
def client(server):
    return server[0]


def test_a_picture_as_the_body_gives_class_score_and_box_in_its_own_pixels(client):
    answer = client.post("/detect", content=png(2, (20, 40)), headers=PNG)
    assert answer.status_code == 200
    told = answer.json()
    assert told.keys() == {"pictures", "milliseconds"}
    assert told["milliseconds"] >= 0
    (picture,) = told["pictures"]
    assert (picture["width"], picture["height"]) == (40, 20)
    assert picture["detections"] == [
        {"class": "blue", "score": 0.9, "box": [0, 0, 40, 20]},
        {"class": "red", "score": 0.6, "box": [0, 0, 20, 10]},
    ]


def test_several_pictures_of_a_form_are_answered_in_their_order(client):
    files = [("files", (f"{n}.png", png(n, (10, 10 + n)))) for n in range(2)] + [
        ("other", ("2.jpg", png(2, form="JPEG")))
    ]
    answer = client.post("/detect", files=files, data={"note": "passed over"})
    assert [picture["name"] for picture in answer.json()["pictures"]] == ["0.png", "1.png", "2.jpg"]
    assert [found[0][0] for found in boxes(answer)] == ["red", "green", "blue"]
    assert [picture["width"] for picture in answer.json()["pictures"]] == [10, 11, 8]


def test_a_body_without_content_type_is_taken_for_a_picture(client):
    for headers in ({}, {"content-type": "application/octet-stream"}, {"content-type": "image/jpeg; q=1"}):
        assert client.post("/detect", content=png(), headers=headers).status_code == 200


def test_a_picture_that_exif_turns_is_answered_as_it_is_shown(client):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(Image.new("RGB", (30, 20), "red"), "JPEG", exif=exif)
    (picture,) = client.post("/detect", content=turned, headers=PNG).json()["pictures"]
    assert (picture["width"], picture["height"]) == (20, 30)


@pytest.mark.parametrize(
    ("query", "classes"),
    [
        ("", ["red", "green"]),
        ("score=0.1", ["red", "green", "blue"]),
        ("score=0.95", []),
        ("score=0&max_detections=1", ["red"]),
        ("score=0&classes=blue,red", ["red", "blue"]),
        ("score=0&classes=blue&classes=green", ["green", "blue"]),
        ("score=0&classes=blue,green&max_detections=1", ["green"]),
        ("score=0&classes=", ["red", "green", "blue"]),
    ],
)
def test_score_classes_and_number_of_detections_are_chosen_by_the_query(client, query, classes):
    answer = client.post(f"/detect?{query}", content=png(0), headers=PNG)
    assert [name for name, _ in boxes(answer)[0]] == classes


def test_a_class_has_the_threshold_that_is_stored_with_the_model():
    detector = Colours()
    detector.shown = torch.tensor([0.95, 0.5, 0.15])
    with serving(detector) as (client, _):
        assert client.get("/model").json()["scores"] == {"red": 0.95, "green": 0.5, "blue": 0.15}
        for query, classes in (("", ["green", "blue"]), ("?score=0.7", ["red"])):
            answer = client.post(f"/detect{query}", content=png(0), headers=PNG)
            assert [name for name, _ in boxes(answer)[0]] == classes


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("classes=gren", "classes: no class 'gren'; did you mean green?"),
        ("classes=zebra", "classes: no class 'zebra'; there are red, green, blue"),
        ("score=1.5", "score: Input should be less than or equal to 1"),
        ("score=much", "score: Input should be a valid number, unable to parse string as a number"),
        ("max_detections=0", "max_detections: Input should be greater than or equal to 1"),
    ],
)
def test_a_parameter_that_cannot_be_is_422_and_says_what_can(client, query, line):
    assert refused(client.post(f"/detect?{query}", content=png(), headers=PNG), 422) == line


def test_another_path_is_404_and_another_method_405(client):
    assert "POST pictures to /detect" in refused(client.post("/detects", content=png(), headers=PNG), 404)
    refused(client.get("/detect"), 405)


@pytest.mark.parametrize("content", [b"no picture at all", b"P", b"%PDF-1.7 ...", bytes(300)])
def test_what_is_no_picture_is_415(client, content):
    assert "not a picture" in refused(client.post("/detect", content=content, headers=PNG), 415)


def test_a_content_type_of_something_else_is_415(client):
    assert "send image/*" in refused(client.post("/detect", json={"picture": "base64"}), 415)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_a_picture_that_is_cut_off_is_422(client, form, share):
    rng = np.random.default_rng(0)
    whole = encoded(Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)), form)
    assert client.post("/detect", content=whole, headers=PNG).status_code == 200
    cut = whole[: int(len(whole) * share)]
    assert "the body: cannot be decoded" in refused(client.post("/detect", content=cut, headers=PNG), 422)


def test_a_picture_that_the_detector_refuses_is_422(client):
    assert refused(client.post("/detect", content=png(size=(6, 13)), headers=PNG), 422) == "the body: no regions"


def test_a_detector_that_fails_is_500_in_one_line_and_goes_on(client, caplog):
    with caplog.at_level(logging.WARNING, "rcnn"):
        answer = client.post("/detect", content=png(size=(6, 7)), headers=PNG)
    assert refused(answer, 500) == "the detector failed; the server's log says why"
    assert "a picture of 6 x 7 failed: out of memory" in caplog.text
    assert "Traceback" not in caplog.text
    assert client.post("/detect", content=png(), headers=PNG).status_code == 200


def test_a_body_without_any_picture_is_422(client):
    for request in ({"content": b"", "headers": PNG}, {"files": {"a": ("a.png", b"")}}, {"files": {"a": (None, "b")}}):
        assert "holds no picture" in refused(client.post("/detect", **request), 422)


def test_a_form_that_cannot_be_read_is_400(client):
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = client.post("/detect", content=b"--y\r\nnonsense", headers={"content-type": kind})
        assert refused(answer, 400).startswith("the form")


def test_one_broken_picture_of_a_form_is_named(client):
    files = [("files", ("good.png", png())), ("files", ("bad.png", png()[:40]))]
    assert refused(client.post("/detect", files=files), 422).startswith("bad.png: cannot be decoded")


def test_more_pictures_than_allowed_are_413(client):
    files = [("files", (f"{n}.png", png())) for n in range(4)]
    assert "Maximum number of files is 3" in refused(client.post("/detect", files=files), 413)


def test_more_pixels_than_allowed_are_413_before_any_is_decoded(client, monkeypatch):
    monkeypatch.setattr("rcnn.serving.uploads.read_picture", pytest.fail)
    answer = client.post("/detect", content=encoded(Image.new("1", (100, 41))), headers=PNG)
    assert refused(answer, 413) == "the body: 4,100 pixels, at most 4,000 are decoded; scale it down"
    bomb = encoded(Image.new("1", (20_000, 10_000)))  # which Pillow itself refuses
    refused(client.post("/detect", content=bomb[:20_000], headers=PNG), 413)


def test_a_body_that_is_told_to_be_too_long_is_413_and_not_read():
    app = create_app(Service(Colours(), "colours", Limits(body=1000)))
    headers = [("content-type", "image/png"), ("content-length", "1001")]
    with running(app):
        status, body, left = ask(app, [b"x" * 100] * 11, headers)
    assert (status, left) == (413, 11)
    assert "longer than 1,000 bytes" in json.loads(body)["detail"]


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=x"])
def test_a_body_that_grows_too_long_is_413_as_soon_as_it_is(kind):
    start = b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n'
    app = create_app(Service(Colours(), "colours", Limits(body=1000)))
    with running(app):
        status, _, left = ask(app, [start, *[b"x" * 100] * 100], [("content-type", kind)])
    assert status == 413
    assert left >= 90


def test_a_body_that_comes_too_slowly_is_408():
    app = create_app(Service(Colours(), "colours", Limits(upload_seconds=0.1)))
    with running(app):
        status, body, left = ask(app, [b"x"] * 100, pause=0.04)
    assert status == 408
    assert left > 90
    assert "more than 0.1 seconds" in json.loads(body)["detail"]


def running(app):
    """The application's service at work, without a client."""
    from fastapi.testclient import TestClient

    return TestClient(app)


def test_more_pictures_in_work_than_the_queue_holds_are_503_with_retry_after():
    detector = Colours()
    with serving(detector, batch=1, queue=3) as (client, service):
        threads, answers = behind(detector, client, 3)
        until(lambda: service.ledger.pictures == 3)
        answer = client.post("/detect", content=png(), headers=PNG)
        assert "3 pictures are in work, at most 3" in refused(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1
        detector.go.set()
        for thread in threads:
            thread.join(5)
        assert [one.status_code for one in answers] == [200] * 3
        assert client.post("/detect", content=png(), headers=PNG).status_code == 200


def test_a_request_that_takes_too_long_is_504_and_what_has_not_begun_is_dropped():
    detector = Colours()
    with serving(detector, batch=1, seconds=0.3) as (client, service):
        threads, answers = behind(detector, client, 3)
        for thread in threads:
            thread.join(5)
        assert {refused(one, 504) for one in answers} == {"no answer within 0.3 seconds; come back later"}
        detector.go.set()
        assert client.post("/detect", content=png(), headers=PNG).status_code == 200
        assert [len(batch) for batch in detector.batches[1:]] == [1, 1]  # the first, which had begun, and the last
        assert service.ledger.empty


def test_requests_that_come_together_go_through_the_detector_together():
    detector = Colours()
    with serving(detector, batch=4) as (client, service):
        threads, answers = behind(detector, client, 6)
        until(lambda: len(service.batcher._jobs) == 5)
        detector.go.set()
        for thread in threads:
            thread.join(5)
        assert [one.status_code for one in answers] == [200] * 6
        assert [len(batch) for batch in detector.batches[1:]] == [1, 4, 1]


def test_the_end_finishes_what_is_in_work_and_refuses_what_is_new():
    detector = Colours()
    with serving(detector, batch=1) as (client, service):
        threads, answers = behind(detector, client, 3)
        until(lambda: service.ledger.pictures == 3)
        service.refuse()
        assert refused(client.post("/detect", content=png(), headers=PNG), 503) == "the server is stopping"
        health = client.get("/healthz")
        assert (health.status_code, health.json()) == (503, {"status": "stopping"})
        detector.go.set()
        for thread in threads:
            thread.join(5)
    assert [one.status_code for one in answers] == [200] * 3
    assert service.finished


def test_requests_in_work_are_told_when_the_detector_ends_before_its_time():
    detector = Colours()
    with serving(detector, batch=1) as (client, service):
        service.metrics.detecting = None  # no error of a batch
        threads, answers = behind(detector, client, 3)
        until(lambda: len(service.batcher._jobs) == 2)
        detector.go.set()
        for thread in threads:
            thread.join(5)
        assert {refused(one, 503) for one in answers} == {"the detector's thread has ended; come back later"}
        assert service.state == "broken"
    assert not service.finished


def test_health_tells_a_server_that_is_ready_from_one_that_is_not_yet_or_no_longer():
    detector = Colours()
    service = Service(detector, "colours", Limits())
    detector.batches.append([])
    detector.go.clear()
    with running(create_app(service)) as client:
        assert (client.get("/healthz").status_code, client.get("/healthz").json()) == (503, {"status": "starting"})
        detector.go.set()
        until(lambda: service.state == "ok")
        assert (client.get("/healthz").status_code, client.get("/healthz").json()) == (200, {"status": "ok"})
        service.batcher.stop(5.0)
        assert client.get("/healthz").json() == {"status": "broken"}
        refused(client.post("/detect", content=png(), headers=PNG), 503)


class Filling(Colours):
    """Fills batches up to a power of two, as detectors on a GPU do, and keeps which it had to fill."""

    fills = True

    def __init__(self):
        super().__init__()
        self.batches.append([])
        self.rooms = set()

    def predict_each(self, pictures, batch=1, score=0.0):
        self.rooms.add((pictures[0].shape[:2], 1 << (len(pictures) - 1).bit_length()))
        return super().predict_each(pictures, batch, score)


@pytest.mark.parametrize(("batch", "rooms"), [(1, {1}), (3, {1, 2, 4}), (6, {1, 2, 4, 8}), (8, {1, 2, 4, 8})])
def test_a_server_that_is_ready_has_seen_every_size_of_batch(batch, rooms):
    detector = Filling()
    with serving(detector, batch=batch):
        pass
    assert detector.rooms == {(shape, room) for shape in SHAPES for room in rooms}
    assert max(map(len, detector.batches)) <= batch


def test_metrics_count_requests_by_status_batches_and_pictures():
    with serving() as (client, _):
        for content in (png(), png(), b"nonsense"):
            client.post("/detect", content=content, headers=PNG)
        client.post("/detect", files=[("a", ("a.png", png())), ("b", ("b.png", png()))])
        client.get("/secret/1")
        client.get("/secret/2")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert values['rcnn_requests_total{path="/detect",status="200"}'] == "3.0"
    assert values['rcnn_requests_total{path="/detect",status="415"}'] == "1.0"
    assert values['rcnn_requests_total{path="other",status="404"}'] == "2.0"
    assert values["rcnn_request_seconds_count"] == "4.0"
    assert values["rcnn_batch_pictures_sum"] == values["rcnn_pictures_total"] == "4.0"
    assert values["rcnn_queue_pictures"] == values["rcnn_requests_in_flight"] == values["rcnn_held_bytes"] == "0.0"


def test_openapi_tells_the_types_of_answers_and_every_status(client):
    described = client.get("/openapi.json").json()
    post = described["paths"]["/detect"]["post"]
    assert post["requestBody"]["content"].keys() == {"multipart/form-data", "image/*"}
    assert {parameter["name"] for parameter in post["parameters"]} == {"score", "classes", "max_detections"}
    assert post["responses"].keys() == {"200", "400", "408", "413", "415", "422", "500", "503", "504"}
    reference = post["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert reference.endswith("/Answer")
    assert described["components"]["schemas"]["Detection"]["required"] == ["class", "score", "box"]


def test_the_model_tells_its_classes_and_limits(client):
    told = client.get("/model").json()
    assert told == {
        "name": "colours",
        "classes": ["red", "green", "blue"],
        "scores": {"red": 0.5, "green": 0.5, "blue": 0.5},
        "body_bytes": 20_000,
        "pixels": 4000,
        "pictures": 3,
    }


def test_the_page_loads_nothing_from_elsewhere(client):
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "//" not in answer.text.replace("// What", "").replace("// picture's", "")


def test_a_trained_detector_answers_what_it_predicts(run):
    detector = api.load(run, "cpu")
    samples = [shape_sample(f"p{n}", size) for n, size in enumerate([(64, 80), (80, 64), (64, 80)])]
    expected = list(detector.predict([sample.picture for sample in samples], batch=1))
    with serving(detector, batch=4) as (client, _):
        files = [("files", (s.id, encoded(Image.fromarray(s.picture)))) for s in samples]
        answer = client.post("/detect?score=0", files=files).json()
    for one, picture in zip(expected, answer["pictures"], strict=True):
        assert len(one) == len(picture["detections"]) > 0
        assert [d["class"] for d in picture["detections"]] == one.names
        assert np.allclose([d["box"] for d in picture["detections"]], one.boxes, atol=0.02)
        assert np.allclose([d["score"] for d in picture["detections"]], one.scores, atol=1e-4)
