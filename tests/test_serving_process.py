"""`rcnn serve` as users start it: a process, a port, signals; and its page in a browser."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from conftest import shape_sample
from fastapi.responses import HTMLResponse, Response
from PIL import Image
from serving_parts import PNG, Colours, encoded, png, threaded, until

from rcnn.cli import main
from rcnn.errors import ConfigError
from rcnn.serving import server
from rcnn.serving.limits import Limits
from rcnn.serving.service import Service

pytestmark = pytest.mark.usefixtures("quiet_log")
ROOT = Path(__file__).parents[1]
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=8000"
)


STUCK = """
import sys, time
from rcnn.cli import main
from rcnn.serving import uploads
uploads.read_picture = lambda *_: time.sleep(60)
sys.exit(main())
"""
"""`rcnn` where no picture is ever decoded."""


@contextmanager
def process(*words, python=("-m", "rcnn")):
    """`rcnn serve` in a process of its own on a free port, and that port."""
    command = [sys.executable, *python, "serve", *map(str, words), "--port", "0", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as one:
        try:
            line = one.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:(\d+):", line)
            assert found, line + one.stderr.read()
            yield one, int(found[1])
        finally:
            one.kill()


def asked(port, method, path, body=None, headers=PNG):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def healthy(port):
    try:
        return asked(port, "GET", "/healthz")[0] == 200
    except OSError:
        return False


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_sigterm_ends_a_server_in_order_with_status_0(run):
    with process(run, "--wait-ms", "700") as (one, port):
        until(lambda: healthy(port), 60)
        answers = []
        picture = encoded(Image.fromarray(shape_sample("a").picture))
        thread = threading.Thread(target=lambda: answers.append(asked(port, "POST", "/detect?score=0", picture)))
        thread.start()
        time.sleep(0.3)  # the picture waits for others
        one.send_signal(signal.SIGTERM)
        thread.join(20)
        out, err = one.communicate(timeout=20)
    assert one.returncode == 0, err
    assert err == ""
    assert out.endswith("ended: all in work was done\n")
    assert [status for status, _ in answers] == [200]
    with pytest.raises(OSError, match="refused"):
        asked(port, "GET", "/healthz")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_a_second_signal_ends_a_server_at_once_with_status_1_whatever_its_threads_do(run):
    with process(run, "--stop-limit", "60", python=("-c", STUCK)) as (one, port), ExitStack() as clients:
        until(lambda: healthy(port), 60)
        for _ in range(3):  # two threads decode, and one waits
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(b"POST /detect HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(png()), png()))
        until(lambda: b"rcnn_requests_in_flight 3.0" in asked(port, "GET", "/metrics")[1])
        one.send_signal(signal.SIGTERM)
        until(lambda: b"stopping" in asked(port, "GET", "/healthz")[1])
        one.send_signal(signal.SIGTERM)
        out, err = one.communicate(timeout=5)
    assert one.returncode == 1
    assert err == ""
    assert out.endswith("ended: told so twice; what was in work is lost\n")


def test_clients_that_dawdle_are_hung_up_on_and_others_are_served():
    with threaded(Service(Colours(), "colours", Limits(upload_seconds=0.3))) as port:
        with (
            socket.create_connection(("127.0.0.1", port)) as silent,
            socket.create_connection(("127.0.0.1", port)) as slow,
        ):
            slow.sendall(b"POST /detect HTTP/1.1\r\nHost: a\r\n")
            assert asked(port, "POST", "/detect", png())[0] == 200
            silent.settimeout(5)
            slow.settimeout(5)
            for one in (slow, silent):
                answer = http.client.HTTPResponse(one)
                answer.begin()
                assert (answer.status, answer.headers["content-type"]) == (408, "application/json")
                assert json.loads(answer.read()) == {"detail": "the head took more than 0.3 seconds; send it faster"}
            assert silent.recv(1000) == b""
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(b"POST /detect HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n" + png()[:20])
            slow.settimeout(5)
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_what_is_no_http_is_400_in_plain_text_and_not_counted():
    with threaded(Service(Colours(), "colours", Limits())) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"no HTTP\r\n\r\n")
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert (answer.status, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")
        assert b"rcnn_requests_total{" not in asked(port, "GET", "/metrics")[1]


def test_a_client_that_hangs_up_has_its_picture_dropped():
    detector = Colours()
    service = Service(detector, "colours", Limits(), batch=1)
    with threaded(service) as port:
        detector.go.clear()
        body = b"POST /detect HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(png()), png())
        with socket.create_connection(("127.0.0.1", port)) as busy:
            busy.sendall(body)
            until(detector.begun.is_set)
            with socket.create_connection(("127.0.0.1", port)) as gone:
                gone.sendall(body)
                until(lambda: len(service.batcher._jobs) == 1)
            until(lambda: not service.batcher._jobs)
            detector.go.set()
            assert busy.recv(20).startswith(b"HTTP/1.1 200 ")
    assert [len(batch) for batch in detector.batches[1:]] == [1]


def test_a_client_that_sends_too_much_still_reads_why():
    with threaded(Service(Colours(), "colours", Limits(body=1000))) as port:
        status, body = asked(port, "POST", "/detect", bytes(5_000_000))
    assert status == 413
    assert b"longer than 1,000 bytes" in body


def test_a_port_that_is_taken_is_one_line_before_any_model_is_read(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "torchvision:no-such-model", "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"rcnn: --host 127.0.0.1 --port {port}: ")
    assert error.count("\n") == 1


def test_a_run_that_is_not_there_is_one_line(capsys):
    assert main(["serve", "no-such-run", "--port", "0"]) == 2
    assert capsys.readouterr().err.startswith("rcnn: no-such-run: no such run")


def test_without_the_extra_the_line_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "no-such-run"]) == 2
    error = capsys.readouterr().err
    assert error.endswith("pip install 'rcnn[serve]'\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize(("host", "open_to_others"), [("127.0.0.1", False), ("0.0.0.0", True), ("localhost", False)])
def test_an_address_tells_whether_other_machines_reach_it(host, open_to_others):
    with server.bound(host, 0) as sock:
        assert server.is_open(sock) is open_to_others
        assert re.fullmatch(r"http://(127\.0\.0\.1|\[::1\]):\d+", server.address_of(sock))


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(ConfigError, match=r"--host 192\.0\.2\.1 --port 0: "):
        server.bound("192.0.2.1", 0)


HARNESS = """<!doctype html><style>body{margin:0}iframe{border:0;width:100vw;height:100vh}</style>
<iframe src="/"></iframe><script>
const frame = document.querySelector("iframe");
frame.style.width = `${location.search.slice(1)}px`;  // a window is never as narrow as a phone
frame.onload = async () => {
  const inside = frame.contentWindow, page = frame.contentDocument;
  const drop = async path => {
    const data = new inside.DataTransfer();
    data.items.add(new inside.File([await (await fetch(path)).blob()], path.slice(1), {type: "image/png"}));
    inside.dispatchEvent(new inside.DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
    const told = page.getElementById("told");
    for (let n = 0; n < 100 && (!told.textContent || told.textContent.startsWith("Looking")); n++)
      await new Promise(done => setTimeout(done, 20));
    return told.textContent;
  };
  const said = [await drop("/picture.png")];
  const slider = page.getElementById("score");
  for (const score of [0.1, 0.8]) {
    slider.value = score;
    slider.dispatchEvent(new inside.Event("input"));
    said.push(page.getElementById("told").textContent);
  }
  slider.value = 0.1;
  slider.dispatchEvent(new inside.Event("input"));
  const canvas = page.getElementById("picture"), pen = canvas.getContext("2d");
  const at = (x, y) => [...pen.getImageData(x * canvas.width, y * canvas.height, 1, 1).data.slice(0, 3)].join(" ");
  said.push(page.getElementById("classes").innerText.replace(/\\s+/g, " "), at(0.4, 0.5), at(0.7, 0.7));
  said.push(await drop("/broken.png"));
  document.title = said.join("|") + "|wide " + (page.documentElement.scrollWidth > inside.innerWidth);
};
</script>"""


def harness(app):
    """A page around the server's page that drops pictures on it, as a hand would."""
    files = {"/picture.png": png(0, (200, 300)), "/broken.png": png()[:40]}
    for path, content in files.items():
        app.get(path)(lambda content=content: Response(content, media_type="image/png"))
    app.get("/harness")(lambda: HTMLResponse(HARNESS))


def browse(profile, *words):
    command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={profile}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_picture_dropped_on_the_page_is_shown_with_its_boxes(width, tmp_path):
    with threaded(Service(Colours(), "colours", Limits()), harness) as port:
        dumped = browse(tmp_path, "--window-size=1280,900", "--dump-dom", f"http://127.0.0.1:{port}/harness?{width}")
    said = re.search(r"<title>(.*?)</title>", dumped)[1].split("|")
    assert said[:3] == ["2 objects", "3 objects", "1 object"]
    assert said[3] == "red 1 green 1 blue 1"
    assert said[4] != "200 0 0"  # the edge of a box
    assert said[5] == "200 0 0"  # the picture within it
    assert said[6].startswith("broken.png: cannot be decoded")
    assert said[7] == "wide false"
