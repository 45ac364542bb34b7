"""Chromium as a person uses it: pages opened, keys pressed, things clicked, over its debugging pipe."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    # Scrolling that takes its time moves what is about to be clicked.
    "--force-prefers-reduced-motion",
)
SECONDS = 20.0
"""Until something that was waited for counts as missing."""
CODES = {"Enter": 13, "Escape": 27, "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36, "ArrowLeft": 37,
         "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, " ": 32, "/": 191}  # fmt: skip


@final
class Tab:
    """One tab; `messages` holds what its pages wrote to the console, and errors."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._rest, self._last, self._session = b"", 0, ""
        self._events: list[dict[str, Any]] = []
        self.messages: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: object) -> dict[str, Any]:
        """Call a method of the DevTools protocol and return its result."""
        self._last += 1
        command = {"id": self._last, "method": method, "params": params}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._to, json.dumps(command).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, page: Path, fragment: str = "") -> None:
        """Open a page anew and wait until it is loaded."""
        for url in ("about:blank", page.as_uri() + fragment):
            self._events.clear()
            self.send("Page.navigate", url=url)
            while not any(event["method"] == "Page.loadEventFired" for event in self._events):
                self._receive()
        self.messages.clear()
        self.run("0")

    def close(self) -> None:
        """Close the browser, so that it leaves its profile alone."""
        self._session = ""
        self.send("Browser.close")

    def run(self, code: str) -> Any:
        """Evaluate JavaScript in the page."""
        answer = self.send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, code: str) -> None:
        """Wait until an expression holds."""
        end = time.monotonic() + SECONDS
        while not self.run(f"!!({code})"):
            assert time.monotonic() < end, f"never came true: {code}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """Return the text of the first element that matches."""
        return self.run(f"document.querySelector({json.dumps(selector)}).textContent")

    def press(self, *keys: str) -> None:
        """Press keys one after the other, by their names or characters."""
        for key in keys:
            about = {"key": key, "code": key, "windowsVirtualKeyCode": CODES[key]}
            self.send("Input.dispatchKeyEvent", type="rawKeyDown", **about)
            if key in ("Enter", " ", "/"):
                self.send("Input.dispatchKeyEvent", type="char", text="\r" if key == "Enter" else key, **about)
            self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def write(self, text: str) -> None:
        """Type text into what has the focus."""
        self.send("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click into the middle of the first element that matches."""
        place = (
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            "found.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const box = found.getBoundingClientRect();"
            "return {x: box.x + box.width / 2, y: box.y + box.height / 2}; })()"
        )
        where = self.run(place)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)

    def picture(self, file: Path, selector: str) -> None:
        """Take a picture of an element, with a little around it."""
        place = (
            f"(() => {{ const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            "return {x: box.x + scrollX - 24, y: box.y + scrollY - 24, width: box.width + 48, height: box.height + 48,"
            " scale: 1}; })()"
        )
        taken = self.send("Page.captureScreenshot", clip=self.run(place), captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(taken["data"]))

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._from, 1 << 20)
            assert piece, "the browser is gone"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(line)
        if "method" in message:
            self._events.append(message)
            self.messages += _said(message)
        return message


def _said(event: dict[str, Any]) -> Iterator[str]:
    params = event["params"]
    match event["method"]:
        case "Runtime.consoleAPICalled":
            yield " ".join(str(argument.get("value")) for argument in params["args"])
        case "Runtime.exceptionThrown":
            yield json.dumps(params["exceptionDetails"])
        case "Log.entryAdded":
            yield params["entry"]["text"]


@contextmanager
def tab(profile: Path, *options: str) -> Iterator[Tab]:
    """Start Chromium and give a tab of it; `profile` is a folder of its own."""
    assert CHROMIUM is not None
    browser_in, to_browser = os.pipe()
    from_browser, browser_out = os.pipe()
    # The browser reads commands from descriptor 3 and answers on 4.
    command = ["bash", "-c", f'exec "$@" 3<&{browser_in} 4>&{browser_out}', "bash", CHROMIUM, *OPTIONS]
    command += ["--remote-debugging-pipe", "--window-size=1280,900", f"--user-data-dir={profile}", *options]
    process = subprocess.Popen(
        command, pass_fds=(browser_in, browser_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(browser_in)
    os.close(browser_out)
    try:
        opened = Tab(to_browser, from_browser)
        yield opened
        opened.close()
        process.wait(SECONDS)
    finally:
        process.kill()
        process.wait(SECONDS)
        os.close(to_browser)
        os.close(from_browser)
