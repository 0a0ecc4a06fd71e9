import datetime
import hashlib
import http.server
import ipaddress
import ssl
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from toolkit import dataset
from toolkit.dataset import archive
from toolkit.dataset.errors import CacheFolderError, DiskFullError, DownloadError, TamperedArchiveError

CLASSES = ("bicycle", "motorcycle")


class Handler(http.server.BaseHTTPRequestHandler):
    content = b""
    requests = 0

    def do_GET(self):
        type(self).requests += 1
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/cifar.tar.gz")
        elif self.path == "/downgraded":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/cifar.tar.gz")
        elif self.path == "/missing":
            self.send_response(404)
        else:
            if self.path == "/slow":
                time.sleep(1)
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.content) + 10 * (self.path == "/short")))
        self.end_headers()
        if self.path not in ("/moved", "/downgraded", "/missing"):
            self.wfile.write(self.content)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def server(certificate, small_archive, monkeypatch):
    """An https server of the small archive, whose checksum counts as official."""
    content = small_archive.read_bytes()
    monkeypatch.setattr(Handler, "content", content)
    monkeypatch.setattr(Handler, "requests", 0)
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(archive, "OFFICIAL_MD5", {digest})
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"https://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "new" / "cache"


@pytest.mark.parametrize("path", ["/cifar.tar.gz", "/moved", "/"])
def test_an_archive_is_fetched_once(server, cache, path):
    first = dataset.load(server + path, CLASSES, cache)
    requests = Handler.requests
    assert len(dataset.load(server + path, CLASSES, cache).train) == len(first.train) == 40
    assert Handler.requests == requests
    assert len(list(cache.iterdir())) == 1


def test_a_damaged_cache_is_replaced(server, cache):
    dataset.load(f"{server}/cifar.tar.gz", CLASSES, cache)
    (kept,) = cache.iterdir()
    kept.write_bytes(b"damaged")
    assert dataset.load(f"{server}/cifar.tar.gz", CLASSES, cache).train


def test_another_file_than_the_official_one_is_refused_and_not_kept(server, cache, monkeypatch):
    monkeypatch.setattr(Handler, "content", Handler.content + b"x")
    with pytest.raises(TamperedArchiveError, match="MD5"):
        dataset.load(f"{server}/cifar.tar.gz", CLASSES, cache)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [("/missing", "404"), ("/downgraded", "redirects away from https"), ("/short", "could not|ended after")],
)
def test_a_failed_download_says_why(server, cache, path, message):
    with pytest.raises(DownloadError, match=message):
        dataset.load(server + path, CLASSES, cache)
    assert list(cache.iterdir()) == []


def test_a_server_that_does_not_answer(server, cache, monkeypatch):
    monkeypatch.setattr(archive, "DOWNLOAD_TIMEOUT_SECONDS", 0.2)
    with pytest.raises(DownloadError, match="timed out"):
        dataset.load(f"{server}/slow", CLASSES, cache)


def test_more_than_an_archive_can_be(server, cache, monkeypatch):
    monkeypatch.setattr(archive, "MAXIMUM_ARCHIVE_BYTES", 100)
    with pytest.raises(DownloadError, match="larger"):
        dataset.load(f"{server}/cifar.tar.gz", CLASSES, cache)


def test_an_untrusted_certificate(server, cache, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(DownloadError, match="certificate"):
        dataset.load(f"{server}/cifar.tar.gz", CLASSES, cache)


@pytest.mark.parametrize("url", ["http://example.invalid/a.tar.gz", "ftp://example.invalid/a", "file:///etc/passwd"])
def test_only_https(cache, url):
    with pytest.raises(DownloadError, match="https"):
        dataset.load(url, CLASSES, cache)


def test_nobody_listens(cache, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DownloadError, match="refused"):
        dataset.load("https://127.0.0.1:1/a.tar.gz", CLASSES, cache)


def test_a_cache_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CacheFolderError, match="cannot be used"):
        dataset.load(f"{server}/cifar.tar.gz", CLASSES, tmp_path / "file" / "cache")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk(server, cache, monkeypatch):
    class AlmostFull(archive.tempfile.TemporaryDirectory):
        def __enter__(self):
            (Path(self.name) / "part").symlink_to("/dev/full")
            return self.name

    monkeypatch.setattr(archive.tempfile, "TemporaryDirectory", AlmostFull)
    with pytest.raises(DiskFullError, match="no room"):
        dataset.load(f"{server}/cifar.tar.gz", CLASSES, cache)
    assert list(cache.iterdir()) == []
