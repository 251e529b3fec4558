"""A data file from its mirrors into the platform's cache: the right one or an error, in bounded time. Needs the extra `experiments`."""

import time
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pooch
import requests
import urllib3
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from funcnn.datasets.idx import DataError
from funcnn.datasets.source import FOLDER_VARIABLE, Source

SILENCE = 30.0
"""Seconds without a byte after which a mirror is given up."""
PATIENCE = 900.0
"""Seconds after which a download that still trickles is given up."""
HOPS = 5
"""How often a mirror may send on to another address."""


def download(source: Source, name: str) -> Path:
    """The file in the cache; where it is not there yet, from each mirror in turn. Only the right file ever gets that name.

    Raises:
        DataError: no mirror gives it.
    """
    size, sha256 = source.files[name]
    cache, failures = pooch.os_cache("funcnn") / source.name, []

    def fetch(url: str, path: str, _) -> None:
        _fetch(url, Path(path), size)

    downloader: Any = fetch
    for mirror in source.mirrors:
        try:  # pooch takes what is there if its hash is right; else it fills a file with a name of its own, checks and renames that
            return Path(pooch.retrieve(mirror + name, f"sha256:{sha256}", name, cache, downloader=downloader))
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError, OSError) as error:
            failures.append(f"{mirror}: {str(error).splitlines()[0]}")
    raise DataError(
        f"{source.name}: could not download {name} ({'; '.join(failures)}); "
        f"offline, get the file elsewhere, put it into a folder and name that folder in {FOLDER_VARIABLE}"
    )


def _fetch(url: str, path: Path, size: int) -> None:
    """Write what `url` answers to `path`, with a progress bar; ValueError unless it is `size` bytes, sent in time."""
    start, done = time.monotonic(), 0
    columns = (TextColumn("{task.description}"), BarColumn(20), DownloadColumn(), TextColumn("left"), TimeRemainingColumn())
    with _open(url) as response, path.open("wb") as file, Progress(*columns) as bar:
        task = bar.add_task(url.rsplit("/", 1)[-1], total=size)
        while done <= size and (piece := response.raw.read1(2**16, decode_content=False)):  # a .gz is kept as it was sent
            done += len(piece)
            if time.monotonic() - start > PATIENCE:
                raise ValueError(f"expected {size} bytes within {PATIENCE:.0f} s, got {done}")
            file.write(piece)
            bar.update(task, completed=done)
    if done != size:
        raise ValueError(f"expected {size} bytes, got {'more' if done > size else done}")


def _open(url: str) -> requests.Response:
    """The answer to `url`, its body unread, after at most `HOPS` redirects, whose bodies are never read; https stays https."""
    asked, session = url, requests.Session()
    for _ in range(HOPS + 1):
        request = session.prepare_request(requests.Request("GET", asked, {"Accept-Encoding": "identity"}))
        settings: Any = session.merge_environment_settings(asked, {}, True, None, None)  # proxies, certificates
        response = session.get_adapter(asked).send(request, timeout=SILENCE, **settings)  # session.get reads a redirect's whole body
        if not response.is_redirect:
            response.raise_for_status()
            return response
        response.close()
        asked = urljoin(asked, response.headers["Location"])
        if url.startswith("https:") and not asked.startswith("https:"):
            raise ValueError(f"expected https throughout, was sent on to {asked}")
    raise ValueError(f"expected at most {HOPS} redirects, got more")
