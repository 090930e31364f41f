"""Downloads resume, are checked, and replace nothing until they are whole; archives stay inside."""

import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from segcourse.data import download
from segcourse.data.download import fetch, hash_of, unpack

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the path says how badly."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        begin = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked else 0
        body = CONTENT
        if self.path == "/missing":
            return self.send_error(404)
        if self.path == "/busy" and len(server.asked) < 3:
            return self.send_error(503)
        if self.path == "/norange" or self.path == "/endless":
            begin = 0
        if begin >= len(body):
            return self.send_error(416)
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        length = len(body) - begin
        if self.path == "/long":
            length += 1000  # promises more than it has
        if self.path != "/endless":
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.send_body(body[begin:])
        self.close_connection = True

    def send_body(self, body):
        if self.path in ("/broken", "/dead") and len(body) > 300_000:
            body = body[: 300_000 if self.path == "/broken" else 100_000]
        step = 4096 if self.path == "/slow" else len(body)
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            if self.path == "/slow":
                time.sleep(0.02)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
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


def test_a_broken_connection_is_taken_up_where_it_broke(server, tmp_path):
    to = get(server, "/broken", tmp_path / "f", attempts=4)
    assert to.read_bytes() == CONTENT
    assert server.asked[0] is None and all(server.asked[1:])
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in server.asked[1:]]
    assert starts == sorted(starts) and starts[0] >= 200_000


def test_a_server_in_trouble_is_asked_again(server, tmp_path):
    assert get(server, "/busy", tmp_path / "f").read_bytes() == CONTENT


def test_a_connection_that_always_breaks_keeps_what_came(server, tmp_path):
    to = tmp_path / "f"
    to.write_bytes(b"previous")
    with pytest.raises(ConnectionError, match=r"2 attempts.*repeat the call"):
        get(server, "/dead", to, attempts=2)
    assert to.read_bytes() == b"previous"
    have = (tmp_path / "f.part").stat().st_size
    assert 150_000 < have <= 200_000
    assert get(server, "/good", to).read_bytes() == CONTENT
    assert server.asked[-1] == f"bytes={have}-" and list(tmp_path.iterdir()) == [to]


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    (tmp_path / "f.part").write_bytes(CONTENT[:1000])
    assert get(server, "/norange", tmp_path / "f").read_bytes() == CONTENT


def test_a_complete_part_needs_only_its_check(server, tmp_path):
    (tmp_path / "f.part").write_bytes(CONTENT)
    assert get(server, "/good", tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize("wrong", [b"x" * 1000, b"x" * len(CONTENT), b"x" * 2 * len(CONTENT)])
def test_the_beginning_of_another_file_is_thrown_away(server, tmp_path, wrong):
    (tmp_path / "f.part").write_bytes(wrong)
    assert get(server, "/good", tmp_path / "f").read_bytes() == CONTENT


def test_a_wrong_hash_replaces_nothing(server, tmp_path):
    to = tmp_path / "f"
    to.write_bytes(b"previous")
    with pytest.raises(ValueError, match=f"{SHA256}, but {OTHER} was expected.*checksum"):
        get(server, "/good", to, sha256=OTHER)
    assert to.read_bytes() == b"previous" and list(tmp_path.iterdir()) == [to]


def test_a_promise_of_more_than_there_is_never_gives_a_file(server, tmp_path):
    to = tmp_path / "f"
    to.write_bytes(b"previous")
    with pytest.raises(ConnectionError):
        get(server, "/long", to, sha256=OTHER, attempts=1)
    assert to.read_bytes() == b"previous"


@pytest.mark.parametrize("path", ["/good", "/endless"])
def test_more_than_the_limit_is_not_stored(server, tmp_path, path):
    with pytest.raises(ValueError, match=r"larger than the 500,000 bytes allowed.*size_limit"):
        get(server, path, tmp_path / "f", size_limit=500_000)
    assert not list(tmp_path.iterdir())


def test_a_missing_page_and_a_missing_server_say_so(server, tmp_path):
    with pytest.raises(ConnectionError, match=r"404.*new address"):
        get(server, "/missing", tmp_path / "f")
    with pytest.raises(ConnectionError, match=r"check the connection"):
        fetch("http://127.0.0.1:9/f", sha256=SHA256, to=tmp_path / "f", attempts=1)


def test_a_killed_download_goes_on(server, tmp_path):
    to = tmp_path / "f"
    to.write_bytes(b"previous")
    code = (
        "import sys; from segcourse.data.download import fetch; "
        "fetch(sys.argv[1], sha256=sys.argv[2], to=sys.argv[3], progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, server.url + "/slow", SHA256, str(to)])
    part = tmp_path / "f.part"
    deadline = time.time() + 60
    while (not part.exists() or part.stat().st_size < 100_000) and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    process.wait()
    have = part.stat().st_size
    assert to.read_bytes() == b"previous" and 100_000 <= have < len(CONTENT)
    assert get(server, "/good", to).read_bytes() == CONTENT
    assert server.asked[-1] == f"bytes={have}-"


def test_the_bar_shows_the_bytes(server, tmp_path, capsys):
    get(server, "/good", tmp_path / "file.bin", progress=True)
    shown = capsys.readouterr().err
    assert "file.bin" in shown and "1.05M" in shown


@pytest.mark.parametrize(
    "change, words",
    [
        ({"url": "ftp://example.org/f"}, "ftp://example.org/f.*https://"),
        ({"url": "file:///etc/passwd"}, "begin with https"),
        ({"sha256": "abc"}, "abc.*64 hexadecimal digits"),
        ({"size_limit": 0}, "size_limit=0.*at least 1"),
        ({"attempts": 0}, "attempts=0"),
        ({"to": "."}, "is a folder: name the file"),
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
    with pytest.raises(FileExistsError, match=r"not empty.*replace=True"):
        unpack(archive, to)
    (to / "own").write_text("x")
    assert tree(unpack(archive, to, replace=True)) == FILES
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
@pytest.mark.parametrize("replace", [False, True])
def test_archives_that_reach_out_are_refused(tmp_path, name, replace):
    room = tmp_path / "room"
    room.mkdir()
    archive = EVIL[name](room / "archive")
    to = room / "out"
    if replace:
        to.mkdir()
        (to / "own").write_text("previous")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=r"(?i)do not trust this archive"):
        unpack(archive, to, replace=replace)
    assert tree(tmp_path) == before and len(list(room.iterdir())) == 1 + replace


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_bombs_are_refused(tmp_path, make):
    archive = make(tmp_path / "bomb", {str(n): bytes(10_000) for n in range(20)})
    with pytest.raises(ValueError, match=r"150,000 bytes.*raise most_members or size_limit"):
        unpack(archive, tmp_path / "out", size_limit=150_000)
    with pytest.raises(ValueError, match=r"more than 19 entries"):
        unpack(archive, tmp_path / "out", most_members=19)
    assert [path.name for path in tmp_path.iterdir()] == ["bomb"]


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"zeros": bytes(1_000_000)})
    honest = (1_000_000).to_bytes(4, "little")
    assert archive.read_bytes().count(honest) == 2
    archive.write_bytes(archive.read_bytes().replace(honest, (10).to_bytes(4, "little")))
    with pytest.raises(ValueError, match=r"damaged"):
        unpack(archive, tmp_path / "out", size_limit=1000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated_archives_leave_the_previous_state(tmp_path, name, share):
    make = make_zip if name.endswith("zip") else make_tar
    archive = make(tmp_path / name, {"noise": os.urandom(50_000), "more": os.urandom(50_000)})
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    to = tmp_path / "out"
    to.mkdir()
    (to / "own").write_text("previous")
    with pytest.raises(ValueError, match=r"fetch it again"):
        unpack(archive, to, replace=True)
    assert tree(to) == {"own": b"previous"} and len(list(tmp_path.iterdir())) == 2


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
    with pytest.raises(ValueError, match=r"no zip or tar file.*web page"):
        unpack(page, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"fetch it first"):
        unpack(tmp_path / "none.zip", tmp_path / "out")


def test_the_old_folder_comes_back_if_the_new_one_cannot_stand(tmp_path, monkeypatch):
    archive, to = make_zip(tmp_path / "a.zip", FILES), tmp_path / "out"
    to.mkdir()
    (to / "own").write_text("previous")
    really, calls = os.replace, []

    def fails_second(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise PermissionError(13, "held open by another program")
        really(source, target)

    monkeypatch.setattr(os, "replace", fails_second)
    with pytest.raises(PermissionError):
        unpack(archive, to, replace=True)
    assert tree(to) == {"own": b"previous"}


def test_hash_of_a_file(tmp_path):
    (tmp_path / "f").write_bytes(CONTENT)
    assert hash_of(tmp_path / "f") == SHA256
