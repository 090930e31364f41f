"""Downloads are checked, and replace nothing until they are whole; archives stay inside."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

from segcourse.data import download
from segcourse.data.download import fetch, unpack

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the path says how badly."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server, path = self.server, unquote(self.path)
        server.asked.append(self.headers.get("Range"))
        if path == "/missing":
            return self.send_error(404)
        if path == "/busy" and len(server.asked) < 3:
            return self.send_error(503)
        broken = path == "/broken" or (path == "/broken once" and len(server.asked) == 1)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) + 1000 * (path == "/long")))
        self.send_header("Connection", "close")
        self.end_headers()
        body = CONTENT[:300_000] if broken else CONTENT
        step = 4096 if path == "/slow" else len(body)
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            if path == "/slow":
                time.sleep(0.01)
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.daemon_threads = True
    served.asked = []
    served.url = f"http://127.0.0.1:{served.server_address[1]}"
    threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
    yield served
    served.shutdown()
    served.server_close()


def get(server, path, to, **options):
    return fetch(server.url + path, **{"sha256": SHA256, "to": to, "progress": False, **options})


def test_a_file_is_fetched_once(server, tmp_path):
    to = tmp_path / "deep" / "file.bin"
    assert get(server, "/good", to) == to and to.read_bytes() == CONTENT
    assert get(server, "/good", str(to)).read_bytes() == CONTENT
    assert server.asked == [None] and list(to.parent.iterdir()) == [to]


def test_upper_case_hashes_are_hashes_too(server, tmp_path):
    assert get(server, "/good", tmp_path / "f", sha256=SHA256.upper()).exists()


@pytest.mark.parametrize("path", ["/busy", "/broken once"])
def test_a_broken_connection_and_a_server_in_trouble_are_tried_again(server, tmp_path, path):
    to = get(server, path, tmp_path / "f")
    assert to.read_bytes() == CONTENT and list(tmp_path.iterdir()) == [to]


@pytest.mark.parametrize("path", ["/broken", "/long"])
def test_a_connection_that_always_breaks_replaces_nothing(server, tmp_path, path):
    to = tmp_path / "f"
    to.write_bytes(b"previous")
    with pytest.raises(ConnectionError, match="check the connection and repeat the call"):
        get(server, path, to)
    assert len(server.asked) == 3
    assert to.read_bytes() == b"previous" and list(tmp_path.iterdir()) == [to]
    assert get(server, "/good", to).read_bytes() == CONTENT


def test_a_wrong_hash_replaces_nothing(server, tmp_path):
    to = tmp_path / "f"
    to.write_bytes(b"previous")
    with pytest.raises(ValueError, match=f"SHA-256 {OTHER}.*Nothing was replaced.*checksum"):
        get(server, "/good", to, sha256=OTHER)
    assert len(server.asked) == 1
    assert to.read_bytes() == b"previous" and list(tmp_path.iterdir()) == [to]


def test_a_missing_page_and_a_missing_server_say_so(server, tmp_path):
    with pytest.raises(ConnectionError, match=r"404.*new address"):
        get(server, "/missing", tmp_path / "f")
    assert len(server.asked) == 1
    with pytest.raises(ConnectionError, match=r"check the connection"):
        fetch("http://127.0.0.1:9/f", sha256=SHA256, to=tmp_path / "f")


CODE = (
    "import sys; from segcourse.data.download import fetch; "
    "fetch(sys.argv[1], sha256=sys.argv[2], to=sys.argv[3], progress=False)"
)


def start(server, path, to) -> subprocess.Popen:
    """A process of its own that fetches a file."""
    return subprocess.Popen([sys.executable, "-c", CODE, server.url + path, SHA256, str(to)])


def test_a_killed_download_leaves_the_previous_file_and_can_be_repeated(server, tmp_path):
    to = tmp_path / "f"
    to.write_bytes(b"previous")
    process = start(server, "/slow", to)
    while not any(path.stat().st_size > 100_000 for path in tmp_path.iterdir()):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert to.read_bytes() == b"previous"
    assert get(server, "/good", to).read_bytes() == CONTENT


def test_two_processes_may_fetch_one_file_at_once(server, tmp_path):
    to = tmp_path / "f"
    processes = [start(server, "/slow", to) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert to.read_bytes() == CONTENT and list(tmp_path.iterdir()) == [to]


def test_the_bar_shows_the_bytes(server, tmp_path, capsys):
    get(server, "/good", tmp_path / "file.bin", progress=True)
    assert "1.05M" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, words",
    [
        ({"url": "ftp://example.org/f"}, "ftp://example.org/f.*https://"),
        ({"url": "file:///etc/passwd"}, "begin with https"),
        ({"sha256": "abc"}, "abc.*64 hexadecimal digits"),
        ({"to": "."}, "is a folder"),
    ],
)
def test_malformed_requests_are_refused(change, words):
    call = {"url": "https://example.org/f", "sha256": SHA256, "to": "f", **change}
    with pytest.raises(ValueError, match=words):
        fetch(call.pop("url"), **call)


# ------------------------------------------------------------------------------ archives


def make_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tar_entry(name, kind=tarfile.REGTYPE, link=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry


def make_tar(path, files, *entries):
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        for name, content in files.items():
            entry = tar_entry(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in entries:
            archive.addfile(entry)
    return path


FILES = {"images/a.png": b"a" * 1000, "images/b.png": b"", "read me.txt": b"hello"}


def tree(folder):
    return {
        str(path.relative_to(folder)).replace(os.sep, "/"): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz"])
def test_archives_are_unpacked(tmp_path, name):
    make = make_zip if name.endswith("zip") else make_tar
    archive = make(tmp_path / name, FILES)
    to = unpack(archive, tmp_path / "deep" / "out")
    assert tree(to) == FILES and list(to.parent.iterdir()) == [to]


def test_an_empty_folder_may_be_filled_and_a_full_one_not(tmp_path):
    archive, to = make_zip(tmp_path / "a.zip", FILES), tmp_path / "out"
    to.mkdir()
    unpack(archive, to)
    with pytest.raises(FileExistsError, match=r"not empty.*choose another folder"):
        unpack(archive, to)
    assert tree(to) == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]


LINK = zipfile.ZipInfo("link")
LINK.external_attr = 0o120777 << 16

EVIL = {
    "zip parent": lambda p: make_zip(p, {"../evil": b"x"}),
    "zip deep parent": lambda p: make_zip(p, {"a/../../evil": b"x"}),
    "zip absolute": lambda p: make_zip(p, {"/evil": b"x"}),
    "zip backslash": lambda p: make_zip(p, {"..\\evil": b"x"}),
    "zip drive": lambda p: make_zip(p, {"C:\\evil": b"x"}),
    "zip link": lambda p: make_zip(p, {"good": b"x", LINK: b"../evil"}),
    "tar parent": lambda p: make_tar(p, {"../evil": b"x"}),
    "tar absolute": lambda p: make_tar(p, {"/evil": b"x"}),
    "tar symlink": lambda p: make_tar(p, FILES, tar_entry("l", tarfile.SYMTYPE, "..")),
    "tar symlink then file": lambda p: make_tar(
        p, {}, tar_entry("l", tarfile.SYMTYPE, ".."), tar_entry("l/evil")
    ),
    "tar hard link": lambda p: make_tar(p, {}, tar_entry("l", tarfile.LNKTYPE, "../../evil")),
    "tar device": lambda p: make_tar(p, {}, tar_entry("d", tarfile.CHRTYPE)),
    "tar pipe": lambda p: make_tar(p, {}, tar_entry("d", tarfile.FIFOTYPE)),
}


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("exists", [False, True])
def test_archives_that_reach_out_are_refused(tmp_path, name, exists):
    room = tmp_path / "room"
    room.mkdir()
    archive = EVIL[name](room / "archive")
    to = room / "out"
    if exists:
        to.mkdir()
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=r"(?i)do not trust this archive"):
        unpack(archive, to)
    assert tree(tmp_path) == before and len(list(room.iterdir())) == 1 + exists


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_bombs_are_refused(tmp_path, make):
    archive = make(tmp_path / "bomb", {str(n): bytes(10_000) for n in range(20)})
    with pytest.raises(ValueError, match=r"200,000 bytes.*150,000 allowed: raise max_bytes"):
        unpack(archive, tmp_path / "out", max_bytes=150_000)
    assert [path.name for path in tmp_path.iterdir()] == ["bomb"]


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"zeros": bytes(1_000_000)})
    honest = (1_000_000).to_bytes(4, "little")
    assert archive.read_bytes().count(honest) == 2
    archive.write_bytes(archive.read_bytes().replace(honest, (10).to_bytes(4, "little")))
    with pytest.raises(ValueError, match=r"damaged"):
        unpack(archive, tmp_path / "out", max_bytes=1000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated_archives_leave_the_previous_state(tmp_path, name, share):
    make = make_zip if name.endswith("zip") else make_tar
    archive = make(tmp_path / name, {"noise": os.urandom(50_000), "more": os.urandom(50_000)})
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    to = tmp_path / "out"
    to.mkdir()
    with pytest.raises(ValueError, match=r"fetch it again"):
        unpack(archive, to)
    assert tree(to) == {} and len(list(tmp_path.iterdir())) == 2


def test_a_damaged_member_is_noticed(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"noise": os.urandom(50_000)})
    content = bytearray(archive.read_bytes())
    content[20_000] ^= 255
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"fetch it again"):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_what_is_no_archive_is_refused(tmp_path):
    page = tmp_path / "data.zip"
    page.write_text("<html>Quota exceeded</html>")
    with pytest.raises(ValueError, match=r"no zip or tar file"):
        unpack(page, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"fetch it first"):
        unpack(tmp_path / "none.zip", tmp_path / "out")


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_full_disk_is_no_damaged_archive(tmp_path, monkeypatch, make):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    archive = make(tmp_path / "archive", FILES)
    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    monkeypatch.setattr(tarfile.TarFile, "extractall", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(archive, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [archive]


def test_two_processes_may_unpack_one_archive_at_once(tmp_path):
    archive, to = make_zip(tmp_path / "a.zip", FILES), tmp_path / "out"
    outcomes = []

    def run():
        try:
            outcomes.append(tree(unpack(archive, to)) == FILES)
        except OSError:  # the other one was first
            outcomes.append(True)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [True] * 4 and tree(to) == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]
