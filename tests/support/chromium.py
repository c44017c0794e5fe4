"""The Chromium that there is, driven by playwright: the system's, or Qt's, which pip installs as pyside6-webengine."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
SYSTEM = next(filter(None, map(shutil.which, NAMES)), None)
QT = find_spec("PySide6") is not None and find_spec("PySide6.QtWebEngineWidgets") is not None
MISSING = f"no browser is installed ({', '.join(NAMES)}, or pip install pyside6-webengine)"
VIEWPORT = {"width": 1366, "height": 768}
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
WINDOW = """
from PySide6.QtWebEngineWidgets import QWebEngineView
from PySide6.QtWidgets import QApplication
app = QApplication([])
view = QWebEngineView()
view.setUrl("about:blank")
view.show()
app.exec()
"""
"""An empty page in Qt's Chromium; no window shows, for Qt draws offscreen."""


@contextmanager
def open_page(driver: Any) -> Iterator[Any]:
    """A new page; ``driver`` is playwright's. Skips the test where Qt's Chromium lacks libraries of the system."""
    if SYSTEM is None:
        with _qt(driver) as page:
            yield page
        return
    chromium = driver.chromium.launch(executable_path=SYSTEM, args=list(QUIET))
    try:
        yield chromium.new_page(viewport=VIEWPORT)
    finally:
        chromium.close()


@contextmanager
def _qt(driver: Any) -> Iterator[Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "QT_QPA_PLATFORM": "offscreen",
        "QTWEBENGINE_REMOTE_DEBUGGING": f"127.0.0.1:{port}",
        "QTWEBENGINE_CHROMIUM_FLAGS": " ".join(QUIET),
    }
    process = subprocess.Popen([sys.executable, "-c", WINDOW], stderr=subprocess.PIPE, text=True, env=environment)
    try:
        # playwright's defaults ask for browser contexts of their own, which Qt's Chromium does not have.
        chromium = driver.chromium.connect_over_cdp(_address(process), no_defaults=True)
        page = chromium.contexts[0].pages[0]
        page.set_viewport_size(VIEWPORT)
        yield page
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[str]) -> str:
    """Return the address at which Qt's Chromium is to be driven; it says so on standard error within a minute."""
    late = threading.Timer(60, process.kill)
    late.start()
    output, found = "", None
    assert process.stderr is not None
    for line in process.stderr:
        output += line
        if found := re.search(r"DevTools listening on (ws://\S+)", line):
            break
    late.cancel()
    if "ImportError" in output:
        pytest.skip(f"Qt's Chromium does not start: {output.splitlines()[-1]}")
    assert found, output
    threading.Thread(target=process.stderr.read, daemon=True).start()  # a full pipe would stop it
    return found[1]
