"""The power of a machine by a management controller, imitated over HTTP."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from helpers import echo_params

from loadgen_study import LiveRun
from vllm_loadgen import ParameterError
from vllm_loadgen.harness.telemetry import Telemetry
from vllm_loadgen.http import redfish
from vllm_loadgen.http.redfish import COLUMN, Controller, Redfish

ACCOUNT = "Basic " + base64.b64encode(b"reader:a-long-password").decode()
CHASSIS = "/redfish/v1/Chassis"


def link(path):
    return {"@odata.id": path}


# A machine with a chassis of each kind, and a GPU board within the first.
RESOURCES = {
    CHASSIS: {"Members": [link(f"{CHASSIS}/{name}") for name in ("new", "old", "board", "rack")]},
    f"{CHASSIS}/new": {"EnvironmentMetrics": link(f"{CHASSIS}/new/EnvironmentMetrics")},
    f"{CHASSIS}/new/EnvironmentMetrics": {"PowerWatts": {"Reading": 700.5}},
    f"{CHASSIS}/old": {"EnvironmentMetrics": link(f"{CHASSIS}/old/EnvironmentMetrics"),
                       "Power": link(f"{CHASSIS}/old/Power")},
    f"{CHASSIS}/old/EnvironmentMetrics": {"TemperatureCelsius": {"Reading": 30}},
    f"{CHASSIS}/old/Power": {"PowerControl": [{"PowerConsumedWatts": 200},
                                              {"PowerConsumedWatts": 150}]},
    f"{CHASSIS}/board": {"Links": {"ContainedBy": link(f"{CHASSIS}/new")},
                         "Power": link(f"{CHASSIS}/old/Power")},
    # It links metrics that it does not have.
    f"{CHASSIS}/rack": {"EnvironmentMetrics": link("/none"), "Power": link("/none")},
}  # fmt: skip


@pytest.fixture
def controller(monkeypatch):
    """A function that starts a controller with these resources, each answered after a delay."""
    monkeypatch.setattr(redfish, "TIMEOUT_S", 1.0)
    started = []

    def start(resources, delay_s=0.0):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                time.sleep(delay_s)
                known = resources.get(self.path)
                if self.headers["Authorization"] != ACCOUNT:
                    self.send_response(401)
                elif isinstance(known, str):
                    self.send_response(302)
                    self.send_header("Location", known)
                else:
                    self.send_response(200 if known is not None else 404)
                body = json.dumps(known).encode()
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        started.append(server)
        url = f"http://127.0.0.1:{server.server_port}"
        return Controller(url, "reader", "a-long-password"), asked

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def until(condition, limit_s=10.0):
    end = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_the_power_of_all_chassis_that_lie_in_no_other(controller):
    known, asked = controller(RESOURCES)
    with Redfish(known, 0.01) as meter:
        assert until(meter.read) == {COLUMN: 900.5}
    assert f"{CHASSIS}/board/Power" not in asked


@pytest.mark.parametrize(
    "resources",
    [
        {},
        {CHASSIS: []},
        {CHASSIS: {"Members": [link("http://other/redfish")]}},
        {CHASSIS: "http://127.0.0.1:9/redfish/v1/Chassis"},  # a redirect
        {CHASSIS: {"Members": [link(f"{CHASSIS}/x")]}, f"{CHASSIS}/x": {}},
        {CHASSIS: {"Members": [link(f"{CHASSIS}/x")]}, f"{CHASSIS}/x": {"Power": link("/p")},
         "/p": {"PowerControl": [{"PowerConsumedWatts": None}]}},
    ],
)  # fmt: skip
def test_a_controller_that_tells_no_power_is_no_column_and_one_line(controller, capsys, resources):
    known, asked = controller(resources)
    with Redfish(known, 0.01) as meter:
        assert until(lambda: asked.count(CHASSIS) > 2)
        assert meter.read() == {}
    said = capsys.readouterr().out
    assert said.count("Redfish: no power is read") == 1
    assert "127.0.0.1" not in said


def test_a_slow_controller_does_not_delay_the_samples(controller, monkeypatch):
    monkeypatch.setattr("vllm_loadgen.harness.telemetry.INTERVAL_S", 0.05)
    known, asked = controller(RESOURCES, delay_s=30.0)
    with Redfish(known, 0.05) as meter, Telemetry(power=meter.read) as telemetry:
        assert until(lambda: asked and telemetry.table(0).num_rows >= 3, limit_s=20.0)
    assert COLUMN not in telemetry.table(0).column_names


def test_an_old_reading_is_not_of_now(controller, monkeypatch):
    known, _ = controller(RESOURCES)
    with Redfish(known, 0.01) as meter:
        assert until(meter.read)
        monkeypatch.setattr(redfish, "STALE_S", -1.0)
        assert meter.read() == {}
    with Redfish(None, 0.01) as meter:
        assert meter.read() == {}


def test_the_power_is_a_column_of_the_telemetry(controller, monkeypatch):
    monkeypatch.setattr("vllm_loadgen.harness.telemetry.INTERVAL_S", 0.05)
    known, _ = controller(RESOURCES)
    with Redfish(known, 0.01) as meter:
        assert until(meter.read)
        with Telemetry(power=meter.read) as telemetry:
            assert until(lambda: telemetry.table(0).num_rows)
    assert telemetry.table(0)[COLUMN][0].as_py() == 900.5


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("bmc", "is not a plain address"),
        ("https://reader:a-long-password@bmc", "is not a plain address"),
        ("http://bmc.example", "would send the password unencrypted"),
        ("https://[bmc", "is not a plain address"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_error_without_it(monkeypatch, url, words):
    monkeypatch.setenv("REDFISH_URL", url)
    monkeypatch.setenv("REDFISH_PASSWORD", "a-long-password")
    with pytest.raises(ParameterError, match=words) as caught:
        Controller.of_environment()
    assert url not in str(caught.value)


def test_the_account_is_of_the_environment_and_never_shown(monkeypatch):
    monkeypatch.delenv("REDFISH_URL", raising=False)
    assert Controller.of_environment() is None
    monkeypatch.setenv("REDFISH_URL", "https://bmc.example:8443/redfish/v1/")
    monkeypatch.setenv("REDFISH_USER", "reader")
    monkeypatch.setenv("REDFISH_PASSWORD", "a-long-password")
    found = Controller.of_environment()
    assert found == Controller("https://bmc.example:8443", "reader", "a-long-password")
    assert repr(found) == "Controller()"


@pytest.mark.process
def test_a_run_has_the_power_and_nothing_of_the_account(controller, monkeypatch, tmp_path):
    known, _ = controller(RESOURCES)
    monkeypatch.setenv("REDFISH_URL", known.url)
    monkeypatch.setenv("REDFISH_USER", "reader")
    monkeypatch.setenv("REDFISH_PASSWORD", "a-long-password")
    params = echo_params(min_duration_ms=3000, outputs=str(tmp_path), run_name="r")
    with LiveRun.start(params) as run:
        test = run.perform("performance")
    assert test.energy.watts == {"whole machine": 900.5}
    made = b"".join(path.read_bytes() for path in run.folder.rglob("*") if path.is_file())
    for secret in (known.url.removeprefix("http://"), "a-long-password", ACCOUNT.split()[1]):
        assert secret.encode() not in made
