"""A model hub on this machine: the part of the protocol that `huggingface_hub` speaks to publish and to fetch.

Files of a commit that are large go to the large file storage first; a commit names them by their hash. What was
stored and is in no commit is in no repository.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import attrs

KEY = "hf_rightkey"
_LARGE = 1_000_000


@attrs.define
class Hub:
    """What the hub holds, what was asked of it, and what shall go wrong."""

    url: str = ""
    repos: dict[str, dict[str, dict[str, bytes]]] = attrs.field(factory=dict)
    """Repository to commit to path to content, the newest commit last."""
    stored: dict[str, bytes] = attrs.field(factory=dict)
    private: dict[str, bool] = attrs.field(factory=dict)
    requests: list[str] = attrs.field(factory=list)
    headers: list[dict[str, str]] = attrs.field(factory=list)
    faults: dict[str, int | None] = attrs.field(factory=dict)
    """Pattern of `METHOD /path` to the status that it answers; `None` cuts the connection."""

    def files(self, repo: str) -> dict[str, bytes]:
        """The content of the newest commit."""
        return list(self.repos[repo].values())[-1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        hub, path = self.hub, urlsplit(self.path).path
        asked = f"{self.command} {path}"
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.requests.append(asked)
        hub.headers.append(dict(self.headers))
        for pattern, status in hub.faults.items():
            if re.fullmatch(pattern, asked):
                if status is None:
                    self.close_connection = True
                    self.connection.shutdown(2)
                else:
                    self._answer(status, {"error": "as told"})
                return
        for pattern, method in _ROUTES.items():
            if found := re.fullmatch(pattern, asked):
                # The storage and the downloads are open, as signed addresses are.
                if "/storage/" not in path and self.headers.get("Authorization") not in (None, f"Bearer {KEY}"):
                    headers = {"X-Error-Message": "Invalid credentials in Authorization header"}
                    self._answer(401, {"error": "Invalid credentials in Authorization header"}, headers)
                    return
                getattr(self, method)(body, *found.groups())
                return
        self._answer(404, {"error": f"the test's hub does not know {asked}"})

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815 - what the standard library calls

    def _answer(self, status: int, value: Any = None, headers: dict[str, str] | None = None) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def create(self, body: bytes) -> None:
        told = json.loads(body)
        name = f"{told['organization']}/{told['name']}" if told.get("organization") else f"me/{told['name']}"
        if not self.headers.get("Authorization"):
            self._answer(401, {"error": "Invalid username or password."})
        elif name in self.hub.repos:
            self._answer(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"})
        else:
            self.hub.repos[name] = {"0" * 40: {}}
            # Older clients say it the second way.
            self.hub.private[name] = told.get("visibility") == "private" or bool(told.get("private"))
            self._answer(200, {"url": f"{self.hub.url}/{name}", "id": name})

    def validate(self, body: bytes) -> None:
        self._answer(200, {"errors": [], "warnings": []})

    def preupload(self, body: bytes, repo: str, _: str) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["size"] > _LARGE else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in json.loads(body)["files"]
        ]
        self._answer(200, {"files": files})

    def batch(self, body: bytes, repo: str) -> None:
        objects = [
            {**item, "actions": {"upload": {"href": f"{self.hub.url}/storage/{item['oid']}"}}}
            for item in json.loads(body)["objects"]
        ]
        self._answer(200, {"transfer": "basic", "objects": objects}, {"Content-Type": "application/vnd.git-lfs+json"})

    def store(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.stored[oid] = body
        self._answer(200, {})

    def commit(self, body: bytes, repo: str, _: str) -> None:
        files = dict(self.hub.files(repo))
        for line in map(json.loads, body.splitlines()):
            told = line["value"]
            if line["key"] == "file":
                files[told["path"]] = base64.b64decode(told["content"])
            elif line["key"] == "lfsFile":
                files[told["path"]] = self.hub.stored[told["oid"]]
        oid = hashlib.sha1(body + str(len(self.hub.repos[repo])).encode()).hexdigest()
        self.hub.repos[repo][oid] = files
        self._answer(200, {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{repo}/commit/{oid}"})

    def _at(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        hidden = self.hub.private.get(repo) and not self.headers.get("Authorization")
        commits = self.hub.repos.get(repo)
        if not commits or hidden:
            missing = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            # The hub does not tell a stranger whether it is missing or private.
            self._answer(404 if self.headers.get("Authorization") else 401, {"error": "Repository not found"}, missing)
            return None
        oid = list(commits)[-1] if revision == "main" else revision
        if oid not in commits:
            self._answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
            return None
        return oid, commits[oid]

    def info(self, body: bytes, repo: str, revision: str) -> None:
        if found := self._at(repo, revision):
            oid, files = found
            siblings = [{"rfilename": path} for path in files]
            told = {"_id": "1", "id": repo, "modelId": repo, "sha": oid, "siblings": siblings, "tags": []}
            self._answer(200, told | {"private": self.hub.private.get(repo, False), "downloads": 0, "likes": 0})

    def tree(self, body: bytes, repo: str, revision: str) -> None:
        if found := self._at(repo, revision):
            self._answer(200, [_entry(path, data) for path, data in found[1].items()])

    def resolve(self, body: bytes, repo: str, revision: str, path: str) -> None:
        if found := self._at(repo, revision):
            oid, files = found
            if path not in files:
                self._answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
                return
            etag = _entry(path, files[path])["oid"]
            self._answer(200, files[path], {"ETag": f'"{etag}"', "X-Repo-Commit": oid, "Accept-Ranges": "none"})


def _entry(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
    if len(data) > _LARGE:
        entry["oid"] = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": entry["oid"], "size": len(data), "pointerSize": 134}
    return entry


_REPO = r"([^/]+/[^/]+)"
_ROUTES = {
    r"POST /api/repos/create": "create",
    r"POST /api/validate-yaml": "validate",
    rf"POST /api/models/{_REPO}/preupload/(.+)": "preupload",
    rf"POST /{_REPO}\.git/info/lfs/objects/batch": "batch",
    r"PUT /storage/(\w+)": "store",
    rf"POST /api/models/{_REPO}/commit/(.+)": "commit",
    rf"GET /api/models/{_REPO}/revision/(.+)": "info",
    rf"GET /api/models/{_REPO}/tree/(.+)": "tree",
    rf"(?:GET|HEAD) /{_REPO}/resolve/([^/]+)/(.+)": "resolve",
}


@contextlib.contextmanager
def running() -> Iterator[Hub]:
    """A hub on a free port."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
