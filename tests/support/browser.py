"""A headless Chromium, spoken to in its DevTools protocol over a pipe: no port, no driver, no dependency."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from itertools import count
from select import select

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-extensions", "--hide-scrollbars", "--remote-debugging-pipe", "about:blank",
)  # fmt: skip
PATIENCE = 60


class Browser:
    """One process; each :meth:`open` is a new tab."""

    def __init__(self):
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        there, self._commands = (_high(end) for end in os.pipe())
        self._answers, back = (_high(end) for end in os.pipe())
        # the protocol wants its pipes as descriptors 3 and 4
        words = ["bash", "-c", f'exec "$@" 3<&{there} 4>&{back}', "bash", PROGRAM]
        self._process = subprocess.Popen(
            [*words, f"--user-data-dir={self._profile}", *OPTIONS],
            pass_fds=(there, back),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(there)
        os.close(back)
        self._buffer, self._numbers = b"", count(1)
        self.events = []

    def close(self):
        self.send("Browser.close")
        self._process.wait(PATIENCE)
        os.close(self._commands)
        os.close(self._answers)
        shutil.rmtree(self._profile, ignore_errors=True)

    def send(self, method, session=None, **parameters):
        """Send a command and return its result; what happens meanwhile is kept in ``events``."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def receive(self):
        while b"\0" not in self._buffer:
            ready, _, _ = select([self._answers], [], [], PATIENCE)
            assert ready, f"chromium said nothing for {PATIENCE} s"
            part = os.read(self._answers, 1 << 20)
            assert part, "chromium is gone"
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message

    def open(self, path, *, width=1280, height=900, dark=False, script=True, printed=False):
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Tab(self, session, path, width, height, dark, script, printed)


def _high(end):
    """Return a copy of the descriptor that is out of the way of 3 and 4."""
    copy = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(end)
    return copy


class Tab:
    """A page that has been loaded, and everything that went wrong with it."""

    def __init__(self, browser, session, path, width, height, dark, script, printed):
        self._browser, self._session = browser, session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media="print" if printed else "screen", features=[scheme])
        if not script:
            self.send("Emulation.setScriptExecutionDisabled", value=True)
        self.send("Page.navigate", url=path.absolute().as_uri())
        while not self.events("Page.loadEventFired"):
            browser.receive()

    def send(self, method, **parameters):
        return self._browser.send(method, self._session, **parameters)

    def events(self, *names):
        return [
            event["params"]
            for event in self._browser.events
            if event.get("sessionId") == self._session and event["method"] in names
        ]

    @property
    def complaints(self):
        """What stands in the console: messages, exceptions, violations of the policy."""
        self.value("0")  # whatever came before has been told by then
        return self.events("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")

    @property
    def requests(self):
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    def value(self, expression):
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            code = {"Enter": 13, "Tab": 9}[key]
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text
            )

    def screenshot(self):
        """Return the PNG of what the window shows."""
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
