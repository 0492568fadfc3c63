"""The power of a whole machine, by its management controller (Redfish), if the user names one.

REDFISH_URL is the controller's address, REDFISH_USER and REDFISH_PASSWORD are its account. None of
the three is recorded. Paths and properties are those of DMTF's Redfish Schema (DSP0268).
"""

import base64
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from vllm_loadgen.errors import ParameterError
from vllm_loadgen.http.certificates import trusted
from vllm_loadgen.params import is_loopback

COLUMN = "machine_power_w"
ROOT = "/redfish/v1/Chassis"
TIMEOUT_S = 2.0
STALE_S = 5.0  # an older reading is not of now
MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Controller:
    """Where the power is read; its account is neither recorded nor logged."""

    url: str = field(repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def of_environment(cls) -> Self | None:
        """The controller that the environment names; None if it names none.

        Raises:
            ParameterError: if the address cannot be used, or would send a password in the clear.
        """
        names = ("REDFISH_URL", "REDFISH_USER", "REDFISH_PASSWORD")
        url, user, password = (os.environ.get(name, "").strip() for name in names)
        if not url:
            return None
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            known = False
        if not known or "@" in url:
            cure = "write it as https://host, and the account in REDFISH_USER and REDFISH_PASSWORD"
            raise ParameterError("REDFISH_URL", "[address]", "is not a plain address", cure)
        if password and parts.scheme == "http" and not is_loopback(url):
            problem = "would send the password unencrypted"
            raise ParameterError("REDFISH_URL", "[address]", problem, "give https://")
        return cls(f"{parts.scheme}://{parts.netloc}", user, password)


class _Stay(urllib.request.HTTPRedirectHandler):
    """No redirect is followed: it would take the account along."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Redfish:
    """Reads the power in a thread of its own; use it as a context manager.

    Args:
        controller: None: there is nothing to read.
    """

    def __init__(self, controller: Controller | None, interval_s: float) -> None:
        self._controller = controller
        self._interval_s = interval_s
        self._seen = (float("-inf"), 0.0)  # when, and W
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        if self._controller is not None:
            work = (self._controller,)
            threading.Thread(target=self._watch, args=work, name="redfish", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()  # a controller that does not answer is not waited for

    def read(self) -> dict[str, float]:
        """The last reading, W; empty without one, or if it is too old. Never waits."""
        at_s, watts = self._seen
        return {COLUMN: watts} if time.monotonic() - at_s <= STALE_S else {}

    def _watch(self, controller: Controller) -> None:
        reported = False
        while not self._stop.is_set():
            try:
                client = _Client(controller)
                sources = list(client.sources())
                while not self._stop.wait(self._interval_s) and sources:
                    watts = sum(client.watts(path) for path in sources)
                    self._seen = (time.monotonic(), watts)
                problem = "" if sources else "no chassis reports its power"
            except Exception as error:  # whatever it is, the test goes on; its text names the host
                problem = type(error).__name__
            if problem and not reported:
                print(f"Redfish: no power is read ({problem})", flush=True)
                reported = True
            self._stop.wait(self._interval_s)


class _Client:
    def __init__(self, controller: Controller) -> None:
        self._url = controller.url
        account = f"{controller.user}:{controller.password}".encode()
        basic = {"Authorization": f"Basic {base64.b64encode(account).decode()}"}
        self._headers = basic if controller.user else {}
        direct = urllib.request.ProxyHandler({})
        https = urllib.request.HTTPSHandler(context=trusted())
        self._opener = urllib.request.build_opener(direct, https, _Stay)

    def get(self, path: str) -> Mapping[str, Any]:
        """A resource of the controller; raises an OSError or a ValueError if it gives none."""
        if not path.startswith("/") or path.startswith("//"):
            raise ValueError("not a path of this controller")
        request = urllib.request.Request(self._url + path, headers=self._headers)
        with self._opener.open(request, timeout=TIMEOUT_S) as answer:
            found = json.loads(answer.read(MOST_BYTES))
        if not isinstance(found, dict):
            raise ValueError("not an object")
        return found

    def sources(self) -> Iterator[str]:
        """Paths that report a power, one of each chassis that lies in no other."""
        for member in _items(self.get(ROOT), "Members"):
            chassis = self.get(str(member.get("@odata.id", "")))
            links = chassis.get("Links")
            if isinstance(links, dict) and links.get("ContainedBy"):
                continue
            for name in ("EnvironmentMetrics", "Power"):
                link = chassis.get(name)
                path = str(link.get("@odata.id", "")) if isinstance(link, dict) else ""
                with suppress(urllib.error.HTTPError):  # some link what they do not have
                    if path and _power(self.get(path)) is not None:
                        yield path
                        break

    def watts(self, path: str) -> float:
        """The power that a source reports now, W; raises a ValueError if it reports none."""
        if (found := _power(self.get(path))) is None:
            raise ValueError("no power")
        return found


def _items(resource: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = resource.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _power(resource: Mapping[str, Any]) -> float | None:
    """PowerWatts.Reading of EnvironmentMetrics, or PowerConsumedWatts of Power's first control."""
    metrics = resource.get("PowerWatts")
    found = metrics.get("Reading") if isinstance(metrics, dict) else None
    for control in _items(resource, "PowerControl")[:1]:
        found = control.get("PowerConsumedWatts")
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return float(found) if is_number and found is not None and found >= 0 else None
