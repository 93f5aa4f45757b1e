"""The page of a comparison in headless Chromium, driven through its DevTools pipe: nothing but the browser is needed.

A sweep of three methods and two seeds is run and reported, with a film, and a page of a single run. Each page is shown
light and dark, 400 and 1400 pixels wide, and without JavaScript. It passes if nothing is written to the console and
nothing requested from elsewhere; if no page is wider than its window; if charts are drawn, tell values under the
pointer and follow their switches; if a table sorts; and if without JavaScript its pictures and tables are there.
"""

import argparse
import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from metarl_run import __version__
from metarl_run.report import compare
from metarl_run.system.json_text import json_text

ROOT = Path(__file__).resolve().parents[2]
SHOWCASE = ROOT / "outputs" / "showcase" / "report"
SWEEP = ("algo=maml,rl2,reptile", "env=random_mdp", "seed=0,1", "meta_iterations=24", "validate_every=4",
         "meta_batch_size=8", "meta_test.num_tasks=60", "logger=files")  # fmt: skip
FILMED = ("algo=maml", "env=cartpole_family", "meta_iterations=6", "validate_every=2", "meta_batch_size=5",
          "meta_test.num_tasks=20", "film=gif", "logger=files")  # fmt: skip
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe"),
)
WIDTHS = (400, 1400)
PATIENCE = 60.0
"""Seconds to wait for an answer."""


class Browser:
    """A browser with one page, and what it said.

    Attributes:
        complaints: console messages, exceptions and requests that are neither of a file nor of data.
    """

    def __init__(self, program: str, profile: str) -> None:
        # The browser reads orders from descriptor 3 and writes answers to 4
        orders_read, self.orders = os.pipe()
        self.answers, answers_write = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (orders_read, answers_write)]  # neither is 3 or 4

        def arrange() -> None:
            for end, descriptor in zip(ends, (3, 4), strict=True):
                os.dup2(end, descriptor)

        self.process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=arrange,
            close_fds=False,
        )
        for descriptor in (orders_read, answers_write, *ends):
            os.close(descriptor)
        os.set_blocking(self.answers, False)
        self.number, self.buffer, self.session = itertools.count(1), b"", None
        self.complaints: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **given: Any) -> dict[str, Any]:
        """The result of a command; events before it are heard."""
        number = next(self.number)
        session = {"sessionId": self.session} if self.session else {}
        os.write(self.orders, json.dumps({"id": number, "method": method, "params": given, **session}).encode() + b"\0")
        for message in self.messages():
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return dict(message["result"])
        raise TimeoutError(method)

    def messages(self) -> Iterator[dict[str, Any]]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            while b"\0" in self.buffer:
                text, self.buffer = self.buffer.split(b"\0", 1)
                message = json.loads(text)
                self.hear(message)
                yield message
            try:
                self.buffer += os.read(self.answers, 2**20)
            except BlockingIOError:
                time.sleep(0.01)

    def hear(self, event: dict[str, Any]) -> None:
        method, given = event.get("method"), event.get("params", {})
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.complaints.append(json.dumps(given)[:500])
        if method == "Network.requestWillBeSent":
            url = given["request"]["url"]
            if not url.startswith(("file:", "data:")):
                self.complaints.append(f"requested {url}")

    def show(self, path: Path, *, width: int, dark: bool = False, scripts: bool = True) -> None:
        """Load a page."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setEmulatedMedia", features=scheme)
        self.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.ask("Page.navigate", url=path.resolve().as_uri())
        for message in self.messages():
            if message.get("method") == "Page.loadEventFired":
                break
        time.sleep(0.3)

    def value(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    def photograph(self, path: Path, height: int) -> None:
        clip = {"x": 0, "y": 0, "width": self.value("innerWidth"), "height": height, "scale": 1}
        data = self.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def point(self, selector: str, x: float, y: float) -> None:
        """Move the pointer into an element, at fractions of its size."""
        place = json.loads(
            self.value(
                f"(() => {{const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'center'}});"
                "return JSON.stringify(e.getBoundingClientRect())})()"
            )
        )
        at = {"x": place["x"] + x * place["width"], "y": place["y"] + y * place["height"]}
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", **at)
        time.sleep(0.2)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for descriptor in (self.orders, self.answers):
            os.close(descriptor)


def examined(browser: Browser, page: Path, name: str, shots: Path | None) -> dict[str, bool]:
    """What a page does right."""
    found: dict[str, bool] = {}
    for width, dark in itertools.product(WIDTHS, (False, True)):
        browser.show(page, width=width, dark=dark)
        found[f"fits {width} px, {'dark' if dark else 'light'}"] = browser.value(
            "document.documentElement.scrollWidth <= innerWidth"
        )
        charts = browser.value("JSON.parse(document.getElementById('record').textContent).charts.length")
        drawn = browser.value("document.querySelectorAll('.plot canvas').length")
        found[f"draws every chart, {width} px, {'dark' if dark else 'light'}"] = charts == drawn > 0
        if shots is not None:
            browser.photograph(shots / f"{name}_{width}_{'dark' if dark else 'light'}.png", 2200)
    browser.point("#adaptation0 .u-over", 0.5, 0.3)
    tip = browser.value("document.querySelector('#adaptation0 .tip').textContent") or ""
    found["tells values under the pointer"] = " at " in tip and not browser.value(
        "document.querySelector('#adaptation0 .tip').hidden"
    )
    picture = "document.querySelector('#adaptation0 canvas').toDataURL()"
    for switch in range(browser.value("document.querySelectorAll('#adaptation0 select').length")):
        before = browser.value(picture)
        browser.value(
            f"(() => {{const s = document.querySelectorAll('#adaptation0 select')[{switch}]; s.selectedIndex = 1;"
            "s.dispatchEvent(new Event('change'))})()"
        )
        time.sleep(0.2)
        found[f"switch {switch + 1} draws another picture"] = before != browser.value(picture)
    if browser.value("document.querySelectorAll('button.chip').length"):
        before = browser.value(picture)
        browser.value("document.querySelector('button.chip').click()")
        time.sleep(0.2)
        found["a method can be hidden"] = before != browser.value(picture)
        cells = "[...document.querySelectorAll('#result ~ .scroll tbody tr')].map(r => Number(r.cells[2].dataset.v))"
        for _ in range(2):
            browser.value("document.querySelectorAll('#result ~ .scroll thead th')[2].click()")
        numbers = browser.value(cells)
        found["a table sorts"] = numbers == sorted(numbers, reverse=True)
    browser.show(page, width=1400, scripts=False)
    if shots is not None:
        browser.photograph(shots / f"{name}_without_scripts.png", 2200)
    # With scripts off in the page, DevTools still evaluate
    found["has pictures without JavaScript"] = browser.value(
        "[...document.querySelectorAll('figure svg .line')].filter(p => p.getTotalLength() > 0).length > 0"
    )
    found["has tables without JavaScript"] = browser.value("document.querySelectorAll('tbody td').length > 10")
    found["says nothing on the console, asks for nothing elsewhere"] = not browser.complaints
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browser", default=next(filter(None, map(shutil.which, BROWSERS)), None))
    parser.add_argument("--pages", type=Path, nargs="*", help="report.html files to examine instead of new ones")
    parser.add_argument("--shots", type=Path, help="folder for screenshots")
    parser.add_argument("--out", type=Path, default=SHOWCASE, help="folder of in_browser.json")
    given = parser.parse_args()
    if given.browser is None:
        print("error: --browser: there is no Chromium on the path\nhint: apt-get install chromium", file=sys.stderr)
        return 2
    version = subprocess.run([given.browser, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    with tempfile.TemporaryDirectory() as place:
        pages = given.pages or [*made(Path(place))]
        if given.shots is not None:
            given.shots.mkdir(parents=True, exist_ok=True)
        results = {}
        for i, page in enumerate(pages):
            browser = Browser(given.browser, f"{place}/profile{i}")
            try:
                results[page.parent.name] = {
                    "bytes": page.stat().st_size,
                    **examined(browser, page, page.parent.name, given.shots),
                }
            finally:
                browser.close()
            for complaint in browser.complaints:
                print(f"{page}: {complaint}", file=sys.stderr)
    wrong = [f"{name}: {what}" for name, found in results.items() for what, right in found.items() if right is False]
    for line in wrong:
        print(f"wrong: {line}", file=sys.stderr)
    record = {"browser": version, "metarl-run": __version__, "pages": results, "wrong": wrong}
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "in_browser.json").write_text(json_text(record, ensure_ascii=False), encoding="utf-8")
    checks = sum(len(found) - 1 for found in results.values())
    print(f"{checks} checks, {len(wrong)} wrong: {given.out / 'in_browser.json'}")
    return 1 if wrong else 0


def made(place: Path) -> Iterator[Path]:
    """Pages of a new sweep and of a new run."""
    command: Callable[..., Any] = lambda *arguments: subprocess.run(  # noqa: E731
        [sys.executable, "-m", "metarl_run", *arguments], cwd=place, check=True, stdout=subprocess.DEVNULL
    )
    command("-m", *SWEEP, "hydra.sweep.dir=sweep")
    yield place / "sweep" / "report.html"
    command(*FILMED, "hydra.run.dir=run")
    yield place / "run" / "report.html"
    compare.write([place / "sweep", place / "run"], place / "both")
    yield place / "both" / "report.html"


if __name__ == "__main__":
    sys.exit(main())
