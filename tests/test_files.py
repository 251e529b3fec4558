"""Where data files come from, under attack: the right file or one clear error, and never a wrong file under the final name."""

import http.server
import multiprocessing
import os
import threading
import time
from pathlib import Path

import numpy as np
import pooch
import pytest

from funcnn import datasets
from funcnn.datasets import downloaded, mirrors
from funcnn.datasets.downloaded import FASHION_MNIST, MNIST
from funcnn.datasets.files import find
from funcnn.datasets.source import FOLDER_VARIABLE, Source
from tests.loopback import CONTENT, NAME, Server
from tests.test_idx import OFFICIAL


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A server on the loopback address, an empty cache, and `source(*behaviours)` whose mirrors are those."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    Server.release.clear()
    Server.asked.clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(mirrors, "SILENCE", 0.5)
    monkeypatch.setattr(mirrors, "PATIENCE", 1.0)
    sha256 = pooch.file_hash(str(_written(tmp_path / "right", CONTENT)))

    def source(*behaviours):
        urls = tuple(f"http://127.0.0.1:{server.server_port}/{behaviour}/" for behaviour in behaviours)
        return Source("attacked", urls, {NAME: (len(CONTENT), sha256)})

    yield source
    Server.release.set()
    server.shutdown()
    server.server_close()


def _written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def cached():
    """What lies in the cache."""
    folder = pooch.os_cache("funcnn") / "attacked"
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


@pytest.mark.parametrize("behaviour", ["right", "right-as-encoding", "right-after-a-redirect", "redirect-with-an-endless-body"])
def test_a_right_file_is_cached_once(mirror, behaviour):
    source = mirror(behaviour)
    first = find(source, NAME)
    asked = len(Server.asked)
    assert first.read_bytes() == CONTENT
    assert find(source, NAME) == first
    assert len(Server.asked) == asked
    assert cached() == {NAME: CONTENT}


WRONG = {
    "truncated": "",
    "truncated-without-length": f"expected {len(CONTENT)} bytes, got 1000",
    "endless": f"expected {len(CONTENT)} bytes, got more",
    "stalled": "Read timed out",
    "silent": "Read timed out",
    "trickling": f"expected {len(CONTENT)} bytes within 1 s",
    "corrupt": "hash",
    "html": f"expected {len(CONTENT)} bytes, got 2015",
    "missing": "404",
    "broken": "500",
    "redirect-to-itself": "expected at most 5 redirects, got more",
    "redirect-to-a-file": "file:///",
}


@pytest.mark.parametrize("behaviour", WRONG)
def test_a_wrong_answer_is_one_clear_error_and_leaves_nothing(mirror, behaviour):
    with pytest.raises(datasets.DataError, match=f"^attacked: could not download {NAME} .*FUNCNN_DATA$") as caught:
        find(mirror(behaviour), NAME)
    assert WRONG[behaviour] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert cached() == {}


@pytest.mark.parametrize("behaviour", WRONG)
def test_the_next_mirror_is_asked(mirror, behaviour):
    assert find(mirror(behaviour, "right"), NAME).read_bytes() == CONTENT
    assert cached() == {NAME: CONTENT}


def test_where_nothing_listens_is_one_clear_error(mirror):
    source = mirror("right")._replace(mirrors=("http://127.0.0.1:9/", "http://no-such-host.invalid/"))
    with pytest.raises(datasets.DataError, match=r"^attacked: could not download .*127.0.0.1:9.*no-such-host.*FUNCNN_DATA$"):
        find(source, NAME)


def test_a_secure_mirror_may_not_send_on_to_an_open_one(mirror, monkeypatch):
    """Asked over https, the server answers, in clear, with a redirect to http."""
    prepare = mirrors.requests.Session.prepare_request

    def in_clear(session, request):
        request.url = request.url.replace("https:", "http:")
        return prepare(session, request)

    monkeypatch.setattr(mirrors.requests.Session, "prepare_request", in_clear)
    source = mirror("redirect-to-http")
    secure = source._replace(mirrors=tuple(url.replace("http:", "https:") for url in source.mirrors))
    with pytest.raises(datasets.DataError, match="expected https throughout, was sent on to http:"):
        find(secure, NAME)
    assert cached() == {}


def test_a_damaged_file_in_the_cache_is_replaced(mirror):
    path = find(mirror("right"), NAME)
    path.write_bytes(CONTENT[:-1])
    assert find(mirror("right"), NAME).read_bytes() == CONTENT
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(datasets.DataError, match="could not download"):
        find(mirror("missing"), NAME)


def _find(source, results):
    results.put(find(source, NAME).read_bytes() == CONTENT)


def test_killed_while_downloading_it_leaves_no_file_of_that_name(mirror):
    fresh = multiprocessing.get_context("spawn")
    results = fresh.Queue()
    process = fresh.Process(target=_find, args=(mirror("slow"), results))
    process.start()
    deadline = time.monotonic() + 30
    while not any(cached().values()) and time.monotonic() < deadline:  # until some bytes are on the disk
        time.sleep(0.02)
    process.kill()
    process.join()
    assert any(cached().values()), "the download never began"
    assert NAME not in cached()
    assert find(mirror("right"), NAME).read_bytes() == CONTENT


def test_two_processes_at_once_both_get_it(mirror):
    fresh, source = multiprocessing.get_context("spawn"), mirror("slow")
    results = fresh.Queue()
    both = [fresh.Process(target=_find, args=(source, results)) for _ in range(2)]
    for process in both:
        process.start()
    deadline = time.monotonic() + 30
    while len(Server.asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    Server.release.set()
    assert [results.get(timeout=30) for _ in both] == [True, True]
    for process in both:
        process.join()
    assert cached() == {NAME: CONTENT}


def test_a_folder_of_the_users_is_believed_only_as_far_as_its_hashes(mirror, tmp_path, monkeypatch):
    source, folder = mirror("right"), tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(datasets.DataError, match=rf"^attacked: expected the file {NAME} in {folder} or in its subfolder attacked"):
        find(source, NAME, folder)
    flat = _written(folder / NAME, CONTENT)
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    assert find(source, NAME) == flat
    nested = _written(folder / "attacked" / NAME, CONTENT)
    assert find(source, NAME) == find(source, NAME, str(folder)) == nested
    nested.write_bytes(CONTENT[:-1])
    with pytest.raises(datasets.DataError, match=rf"^{nested}: expected attacked's {NAME}, whose SHA-256 is \w+, got another file"):
        find(source, NAME)
    assert Server.asked == []
    assert cached() == {}


def test_a_cache_that_cannot_be_written_is_one_clear_error(mirror, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(datasets.DataError, match="could not download"):
        find(mirror("right"), NAME)


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the official files are not here")
@pytest.mark.parametrize(("load", "source"), [(datasets.mnist, MNIST), (datasets.fashion_mnist, FASHION_MNIST)])
def test_the_official_files_are_loaded(load, source, monkeypatch):
    for name, (size, _) in source.files.items():
        assert (OFFICIAL / source.name / name).stat().st_size == size
    data = load(OFFICIAL)
    monkeypatch.setenv(FOLDER_VARIABLE, str(OFFICIAL / source.name))
    again = load()
    assert all(np.array_equal(a, b) for a, b in zip(data, again, strict=True))
    assert (data.train_images.shape, data.test_images.shape) == ((60_000, 28, 28, 1), (10_000, 28, 28, 1))
    assert data.train_images.dtype == "float32"
    assert data.train_labels.dtype == "int32"
    assert (data.train_images.min(), data.train_images.max()) == (0, 1)
    assert np.bincount(data.test_labels).tolist() == ([1000] * 10 if source is FASHION_MNIST else MNIST_TEST_COUNTS)


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the official files are not here")
def test_the_official_files_are_downloaded(mirror, monkeypatch):
    """The real bytes, by way of a server that is not there, one that answers with HTML, and the right one."""
    monkeypatch.setattr(mirrors, "PATIENCE", 60)
    two = (*mirror("html", "official").mirrors[:1], mirror("official").mirrors[0] + "mnist/")
    monkeypatch.setattr(downloaded, "MNIST", MNIST._replace(mirrors=("http://127.0.0.1:9/", *two)))
    data = datasets.mnist()
    assert all(np.array_equal(a, b) for a, b in zip(data, datasets.mnist(OFFICIAL), strict=True))
    folder = pooch.os_cache("funcnn") / "mnist"
    assert {path.name: pooch.file_hash(str(path)) for path in folder.iterdir()} == {name: sha for name, (_, sha) in MNIST.files.items()}


MNIST_TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_the_cache_is_where_the_platform_keeps_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert os.name != "posix" or pooch.os_cache("funcnn") == Path(tmp_path, "funcnn")
