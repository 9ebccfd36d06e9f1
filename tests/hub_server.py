"""A small Hub on loopback for tests: repositories with commits, tokens and LFS in memory, and faults on request.

    with Hub() as hub:                             # token "hf_tester" belongs to the user "tester"
        hub.url, hub.environment(folder)           # HF_ENDPOINT and friends for a child process
        hub.commit("tester/net", {"a.txt": b"a"})  # straight into memory; the real client may push as well
        hub.break_("/resolve/", "hang")            # from now on; hub.mend() takes every fault back
        hub.log                                    # [(method, path, status or fault, whether a token came)]

It speaks what huggingface_hub asks: create, validate-yaml, preupload, LFS batch and upload, commit, revision, tree,
refs, resolve, and a Space's variables. Faults are an HTTP status, or one of FAULTS.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from medseg import schema
from medseg.config import EnsembleConfig

FAULTS = {
    "hang": "takes the request and never answers",
    "drip": "sends the head, then the body at a byte a second",
    "trickle": "sends everything, head included, at a byte a second",
    "cut": "ends the connection in the middle of the body",
    "vanish": "resets the connection in the middle of the body, and listens no more",
    "alter": "flips a bit in the middle of the body",
    "short": "drops the second half of the body, and says so in Content-Length",
    "long": "adds as much again to the body, and says so in Content-Length",
    "html": "answers 200 with a login page, as captive portals do",
}
CODES = {401: "", 403: "GatedRepo", 404: "RepoNotFound"}
SECRET = "signature=s3cr3t-of-an-upload"  # noqa: S105 - a canary: stands in the URLs that uploads go to


@dataclass
class Repo:
    """`commits` by hash, oldest first, each every path and its content; `branches` (and tags) by name."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    def add(self, files: dict[str, bytes], message: str, branch: str = "main") -> str:
        listing = "".join(sorted(f"{path} {git_oid(content)}\n" for path, content in files.items()))
        text = f"{listing}{message}{self.branches.get(branch)}{len(self.commits)}"
        commit = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = files
        self.branches[branch] = commit
        self.messages.append(message)
        return commit

    def resolve(self, revision: str) -> str | None:
        return self.branches.get(revision, revision if revision in self.commits else None)


class Hub:
    """The server; see the module's text. `page` is the largest number of tree entries in one answer."""

    def __init__(self, tokens: dict[str, str] | None = None) -> None:
        self.tokens = {"hf_tester": "tester"} if tokens is None else tokens
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.log: list[tuple[str, str, str, bool]] = []
        self.page = 1000
        self.drip_s = 1.0  # seconds between two bytes of a fault that drips
        self.listings: dict[str, Any] = {}  # what the listing of a path claims instead of the truth, such as its size
        self.sha: str | None = None  # the commit that every listing claims instead of the truth
        self._faults: list[tuple[str, str | int, int | None]] = []
        self._port = 0
        self._server: Server | None = None
        self._changing = threading.RLock()
        self.lock = threading.Lock()
        self.stopping = threading.Event()

    def __enter__(self) -> Hub:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def environment(self, home: Path, token: str | None = "hf_tester") -> dict[str, str]:  # noqa: S107
        """What a child process needs in its environment to use this Hub alone, with its cache under `home`."""
        shared = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        return shared | ({"HF_TOKEN": token} if token else {})

    def start(self) -> None:
        """Listen, on the same port as before."""
        with self._changing:
            self.stop()
            self.stopping.clear()
            self._server = Server(("127.0.0.1", self._port), Handler)
            self._server.hub = self
            self._port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self, server: Server | None = None) -> None:
        """Refuse connections from now on, and drop those that are open; with `server` only if it is still that one."""
        with self._changing:
            if self._server is None or server not in (None, self._server):
                return
            self.stopping.set()
            self._server.shutdown()
            self._server.server_close()
            self._server.drop_connections()
            self._server = None

    def commit(self, name: str, files: dict[str, bytes], *, private: bool = False, branch: str = "main") -> str:
        """A new commit holding exactly `files`; the repository is made where it is not there."""
        return self.repos.setdefault(name, Repo(private)).add(files, "commit", branch)

    def break_(self, pattern: str, fault: str | int, *, times: int | None = None) -> None:
        """Answer requests whose "METHOD /path" matches the regular expression with `fault`, `times` of them."""
        assert fault in FAULTS or isinstance(fault, int)
        self._faults.append((pattern, fault, times))

    def mend(self) -> None:
        self._faults.clear()

    def fault(self, request: str) -> str | int | None:
        with self.lock:
            for index, (pattern, fault, times) in enumerate(self._faults):
                if re.search(pattern, request) and times != 0:
                    self._faults[index] = (pattern, fault, None if times is None else times - 1)
                    return fault
        return None


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    hub: Hub

    def __init__(self, *arguments: Any) -> None:
        self.open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def drop_connections(self) -> None:
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, *_: Any) -> None:
        """The Hub's own log is kept instead."""

    def do_GET(self) -> None:
        hub = self.server.hub
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else b"".join(self._chunks())
        split = urlsplit(self.path)
        self.route, self.query = unquote(split.path), parse_qs(split.query)
        self.user = hub.tokens.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        self.broken = hub.fault(f"{self.command} {self.route}")
        if isinstance(self.broken, int):
            said = self.headers.get("Authorization", "")  # a careless server: what it echoes must reach no log
            extra = {"Retry-After": "3600"} if self.broken == 429 else {}
            return self.refuse(self.broken, f"broken on purpose for {said}", extra)
        with hub.lock:
            answer = self._answer()
        return answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - names that http.server looks for

    def _chunks(self) -> Iterator[bytes]:
        """The pieces of a body in chunked encoding."""
        while self.headers.get("Transfer-Encoding") == "chunked":
            size = int(self.rfile.readline(), 16)
            yield self.rfile.read(size)
            self.rfile.readline()
            if size == 0:
                return

    def _answer(self) -> Any:
        """The function that sends the answer, found while the Hub's lock is held."""
        for pattern, method in ROUTES:
            if match := re.fullmatch(pattern, f"{self.command} {self.route}"):
                kind = {"models/": "", "datasets/": "datasets/", "spaces/": "spaces/"}
                groups = match.groupdict()
                if "repo" not in groups:
                    return method(self, **groups)
                name = kind.get(groups.pop("kind", "") or "", "") + groups.pop("repo")
                repo = self.server.hub.repos.get(name)
                if repo is None or (repo.private and self.user != name.split("/")[-2]):
                    status = 404 if self.user else 401  # as the Hub does, so that nobody learns what is private
                    return lambda: self.refuse(status, "Repository not found", {"X-Error-Code": "RepoNotFound"})
                if (
                    self.command in ("POST", "PUT")
                    and method is not Handler.paths_info
                    and self.user != name.split("/")[-2]
                ):
                    return lambda: self.refuse(403 if self.user else 401, "You may not write here")
                return method(self, name, repo, **groups)
        return lambda: self.refuse(404, f"no route for {self.command} {self.route}")

    # --- what it answers

    def create(self) -> Any:
        asked = json.loads(self.body)
        if self.user is None:
            return lambda: self.refuse(401, "Invalid username or password.")
        owner = asked.get("organization") or self.user
        kind = asked.get("type", "model")
        name = ("" if kind == "model" else f"{kind}s/") + f"{owner}/{asked['name']}"
        if owner != self.user:
            return lambda: self.refuse(403, f"You may not create repositories under {owner}")
        url = {"url": f"{self.server.hub.url}/{name}", "name": name}
        if name in self.server.hub.repos:
            return lambda: self.send(409, {"error": "You already created this repo", **url})
        repo = self.server.hub.repos[name] = Repo(asked.get("visibility") == "private" or bool(asked.get("private")))
        repo.add({".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
        return lambda: self.send(200, url)

    def validate_yaml(self) -> Any:
        good = json.loads(self.body)["content"].startswith("---\n")
        errors = [] if good else [{"message": "empty or missing yaml metadata"}]
        return lambda: self.send(200 if good else 400, {"errors": errors, "warnings": []})

    def whoami(self) -> Any:
        if self.user is None:
            return lambda: self.refuse(401, "Invalid username or password.")
        return lambda: self.send(200, {"name": self.user, "type": "user", "orgs": [], "auth": {}})

    def preupload(self, name: str, repo: Repo, revision: str) -> Any:
        there = repo.commits.get(repo.resolve(revision) or "", {})
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if is_lfs(file["path"]) else "regular",
                "shouldIgnore": False,
                "oid": remote_oid(file["path"], there[file["path"]]) if file["path"] in there else None,
            }
            for file in json.loads(self.body)["files"]
        ]
        return lambda: self.send(200, {"files": files})

    def lfs_batch(self, name: str, repo: Repo) -> Any:
        objects = []
        for asked in json.loads(self.body)["objects"]:
            upload = {"href": f"{self.server.hub.url}/lfs/{asked['oid']}?{SECRET}"}
            known = asked["oid"] in self.server.hub.objects
            objects.append(asked if known else {**asked, "actions": {"upload": upload}})
        return lambda: self.send(200, {"transfer": "basic", "objects": objects})

    def lfs_upload(self, oid: str) -> Any:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return lambda: self.refuse(400, "the body is not what its name promises")
        self.server.hub.objects[oid] = self.body
        return lambda: self.send(200, {})

    def lfs_download(self, oid: str) -> Any:
        content = self.server.hub.objects[oid]
        return lambda: self.send(200, content)

    def commit(self, name: str, repo: Repo, revision: str) -> Any:
        lines = [json.loads(line) for line in self.body.splitlines()]
        head = repo.resolve(revision)
        if head is None:
            return lambda: self.refuse(404, "Invalid rev id", {"X-Error-Code": "RevisionNotFound"})
        if lines[0]["value"].get("parentCommit", head) != head:
            return lambda: self.refuse(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.commits[head])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.hub.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        made = repo.add(files, lines[0]["value"]["summary"], revision)
        url = f"{self.server.hub.url}/{name}/commit/{made}"
        return lambda: self.send(200, {"success": True, "commitOid": made, "commitUrl": url, "hookOutput": ""})

    def info(self, name: str, repo: Repo, revision: str = "main") -> Any:
        commit = repo.resolve(revision)
        if commit is None:
            return lambda: self.refuse(404, "Invalid rev id", {"X-Error-Code": "RevisionNotFound"})
        siblings = [
            {"rfilename": path} | ({"size": entry["size"], "blobId": entry["oid"]} | pick(entry, "lfs"))
            for path, entry in self.entries(repo.commits[commit])
        ]
        about = {"id": name, "sha": self.server.hub.sha or commit, "private": repo.private, "siblings": siblings}
        return lambda: self.send(200, about | {"tags": [], "downloads": 0, "likes": 0})

    def entries(self, files: dict[str, bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
        for path, content in sorted(files.items()):
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
            if is_lfs(path):
                digest = hashlib.sha256(content).hexdigest()
                self.server.hub.objects[digest] = content
                entry |= {"oid": git_oid(pointer(content))}
                entry["lfs"] = {"oid": digest, "sha256": digest, "size": len(content), "pointerSize": 134}
            yield path, entry | self.server.hub.listings.get(path, {})

    def tree(self, name: str, repo: Repo, revision: str) -> Any:
        found = [entry for _, entry in self.entries(repo.commits[repo.resolve(revision) or ""])]
        start = int(self.query.get("cursor", ["0"])[0])
        end = start + self.server.hub.page
        following = f'<{self.server.hub.url}{quote(self.route)}?cursor={end}>; rel="next"'
        return lambda: self.send(200, found[start:end], {"Link": following} if end < len(found) else {})

    def paths_info(self, name: str, repo: Repo, revision: str) -> Any:
        """The entries of some paths, which mirrors ask for."""
        asked = json.loads(self.body)["paths"] if self.body[:1] == b"{" else parse_qs(self.body.decode())["paths"]
        entries = [entry for path, entry in self.entries(repo.commits[repo.resolve(revision) or ""]) if path in asked]
        return lambda: self.send(200, entries)

    def set_variable(self, name: str, repo: Repo) -> Any:
        asked = json.loads(self.body)
        repo.variables[asked["key"]] = asked["value"]
        return lambda: self.send(200, {key: {"value": value} for key, value in repo.variables.items()})

    def refs(self, name: str, repo: Repo) -> Any:
        branches = [{"name": b, "ref": f"refs/heads/{b}", "targetCommit": c} for b, c in repo.branches.items()]
        return lambda: self.send(200, {"branches": branches, "converts": [], "tags": []})

    def resolve(self, name: str, repo: Repo, revision: str, path: str) -> Any:
        commit = repo.resolve(revision)
        if commit is None:
            return lambda: self.refuse(404, "Invalid rev id", {"X-Error-Code": "RevisionNotFound"})
        said = {"X-Repo-Commit": commit}
        content = repo.commits[commit].get(path)
        if content is None:
            return lambda: self.refuse(404, "Entry not found", {"X-Error-Code": "EntryNotFound", **said})
        if not is_lfs(path):
            return lambda: self.send(200, content, {"ETag": f'"{git_oid(content)}"', **said})
        digest = hashlib.sha256(content).hexdigest()
        self.server.hub.objects[digest] = content
        elsewhere = f"{self.server.hub.url.replace('127.0.0.1', 'localhost')}/lfs/{digest}"  # another host: a CDN
        said |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content)), "Location": elsewhere}
        return lambda: self.send(302, b"", said)

    # --- how it answers

    def refuse(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        code = {"X-Error-Code": CODES[status]} if CODES.get(status) else {}
        self.send(status, {"error": message}, code | {"X-Error-Message": message} | (headers or {}))

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        """Send the answer, through the fault that this request met."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        fault, hub = self.broken, self.server.hub
        token = self.headers.get("Authorization") is not None
        hub.log.append((self.command, self.path, fault if isinstance(fault, str) else str(status), token))
        half = len(body) // 2
        if fault == "hang":
            hub.stopping.wait(600)
            self.close_connection = True
            return
        if fault == "alter" and body:
            body = body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :]
        body = {"short": body[:half], "long": body * 2, "html": b"<html>Please log in</html>"}.get(str(fault), body)
        lines = [f"HTTP/1.1 {status} {'OK' if status < 300 else 'No'}", f"Content-Length: {len(body)}"]
        lines += [f"{key}: {value}" for key, value in (headers or {}).items()]
        head = "\r\n".join([*lines, "\r\n"]).encode("latin-1", "replace")
        body = b"" if self.command == "HEAD" else body
        slow = {"drip": (head, body), "trickle": (b"", head + body)}.get(str(fault), (head + body, b""))
        if fault in ("cut", "vanish"):
            slow = (head + body[:half], b"")
            self.close_connection = True
        self.wfile.write(slow[0])
        for byte in slow[1]:
            if hub.stopping.wait(hub.drip_s):
                break
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
        if fault == "vanish":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            threading.Thread(target=hub.stop, args=(self.server,), daemon=True).start()


_ID = r"(?P<repo>[^/]+/[^/]+)"
_API = rf"/api/(?P<kind>models/|datasets/|spaces/){_ID}"
_PLAIN = rf"/(?P<kind>datasets/|spaces/)?{_ID}"
ROUTES = [
    ("POST /api/repos/create", Handler.create),
    ("POST /api/validate-yaml", Handler.validate_yaml),
    ("GET /api/whoami-v2", Handler.whoami),
    (rf"POST {_API}/preupload/(?P<revision>.+)", Handler.preupload),
    (rf"POST {_API}/commit/(?P<revision>.+)", Handler.commit),
    (rf"GET {_API}/tree/(?P<revision>[^/]+)", Handler.tree),
    (rf"POST {_API}/paths-info/(?P<revision>[^/]+)", Handler.paths_info),
    (rf"GET {_API}/refs", Handler.refs),
    (rf"POST {_API}/variables", Handler.set_variable),
    (rf"(?:GET|HEAD) {_API}/revision/(?P<revision>.+)", Handler.info),
    (rf"(?:GET|HEAD) {_API}", Handler.info),
    (rf"POST {_PLAIN}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    (r"PUT /lfs/(?P<oid>[0-9a-f]{64})", Handler.lfs_upload),
    (r"(?:GET|HEAD) /lfs/(?P<oid>[0-9a-f]{64})", Handler.lfs_download),
    (rf"(?:GET|HEAD) {_PLAIN}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]


def pick(entry: dict[str, Any], key: str) -> dict[str, Any]:
    return {key: entry[key]} if key in entry else {}


def is_lfs(path: str) -> bool:
    return path.endswith((".safetensors", ".bin", ".pt"))


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def remote_oid(path: str, content: bytes) -> str:
    """What preupload calls a file that is there: the sha256 of LFS content, git's own hash of the rest."""
    return hashlib.sha256(content).hexdigest() if is_lfs(path) else git_oid(content)


def pointer(content: bytes) -> bytes:
    """The text that git keeps in place of LFS content."""
    digest = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()


# --- what tests push and fetch

REPO = "tester/net"


def files_of(hub: Hub, commit: str | None = None) -> dict[str, bytes]:
    """What REPO holds at the commit, or at the end of its branch main."""
    return hub.repos[REPO].commits[commit or hub.repos[REPO].branches["main"]]


def ours(folder: Path) -> dict[str, bytes]:
    """What the folder holds, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def set_settings(folder: Path, **changes: object) -> None:
    """Change what ensemble.json says."""
    settings = schema.load(EnsembleConfig, folder / "ensemble.json")
    schema.dump(dataclasses.replace(settings, **changes), folder / "ensemble.json")
