"""A headless Chromium that tests drive over its own protocol (Chrome DevTools Protocol, one websocket)."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from programs import need, until
from websockets.sync.client import connect

_FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --remote-debugging-port=0
"""


def shown(selector: str) -> str:
    """The JavaScript expression of the text of an element; empty where there is none."""
    return f"(document.querySelector({selector!r})?.textContent ?? '')"


class Browser:
    """One page; `urls` is everything it has asked for, `complaints` what its console said."""

    def __init__(self, folder: Path, size: tuple[int, int] = (1920, 1080)) -> None:
        command = [need("chromium"), *_FLAGS.split(), f"--window-size={size[0]},{size[1]}"]
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={folder}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._stack = contextlib.ExitStack()
        self._stack.callback(self._stop)
        try:
            port_file = folder / "DevToolsActivePort"
            until(lambda: port_file.exists() and port_file.read_text().count("\n"), 30)
            port = port_file.read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
                page = next(target for target in json.load(answer) if target["type"] == "page")
            self._socket = self._stack.enter_context(connect(page["webSocketDebuggerUrl"], max_size=None))
            self._last = 0
            self.urls: list[str] = []
            self.complaints: list[str] = []
            for domain in ("Page", "Network", "Log", "Runtime"):
                self.call(f"{domain}.enable")
        except BaseException:
            self._stack.close()
            raise

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its result."""
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        deadline = time.monotonic() + 20
        while True:
            message = json.loads(self._socket.recv(timeout=deadline - time.monotonic()))
            if message.get("id") == self._last:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            self.urls.append(parameters["request"]["url"])
        elif event["method"] == "Log.entryAdded":
            self.complaints.append(parameters["entry"]["text"])
        elif event["method"] == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"]))

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def reload(self) -> None:
        """Load the page anew; when this returns, what is asked is answered by the new one."""
        self.evaluate("window.isTheOldPage = true")
        self.call("Page.reload")
        self.until("window.isTheOldPage === undefined")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is waited for."""
        given = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        result = self.call("Runtime.evaluate", **given)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, expression: str, seconds: float = 30.0) -> None:
        """Wait until a JavaScript expression is true in the page."""

        def fact() -> bool:
            with contextlib.suppress(AssertionError):  # the page is being exchanged for another
                return bool(self.evaluate(expression))
            return False

        until(fact, seconds)

    def press(self, key: str) -> None:
        """Press and release a key, as a person does: "g", "Delete", "ArrowRight"."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag the mouse from one place of the window to another, in pixels."""
        held: dict[str, Any] = {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], buttons=1, **held)
        for share in (0.5, 1.0):
            x, y = (a + share * (b - a) for a, b in zip(start, end, strict=True))
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, buttons=1, button="left")
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], buttons=0, **held)

    def click(self, at: tuple[float, float]) -> None:
        """Click at a place of the window, in pixels."""
        self.drag(at, at)

    def resize(self, width: int, height: int) -> None:
        """Show the page in a window of that size, in pixels."""
        size = {"width": width, "height": height}
        self.call("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path: Path, **options: Any) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **options)["data"]))

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.call("Browser.close")
        self._stack.close()

    def _stop(self) -> None:
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
