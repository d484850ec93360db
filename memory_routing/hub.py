"""Publishing a model on a model hub and fetching one, through `huggingface_hub`. Nothing fetched is executed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from math import isclose
from pathlib import Path
from typing import Any, Final

from memory_routing import exported
from memory_routing.card import differences_from
from memory_routing.claims import hub_library, read_report
from memory_routing.conversation import Conversation
from memory_routing.dataset import label_set
from memory_routing.embedded import folder as embedded
from memory_routing.errors import DatasetError, HubError, MemoryRoutingError, ModelError
from memory_routing.evaluation import evaluate
from memory_routing.example import Scenario
from memory_routing.files import write_whole
from memory_routing.published import PublishedModel, load_router
from memory_routing.report import Report
from memory_routing.taxonomy import Taxonomy

__all__ = ["CARD", "REPORT", "check_publishable", "check_repository", "fetch", "publish", "save_pretrained"]

CARD: Final = "README.md"
REPORT: Final = "report.json"
_MANIFESTS: Final = frozenset({embedded.MANIFEST, exported.MANIFEST})
FILES: Final = (embedded.GRAPH, embedded.TOKENIZER, *sorted(_MANIFESTS), *exported.FILES, CARD, REPORT)
"""Patterns of all that is fetched; no other file is, nor is it sent."""
_SHOWN: Final = 5
_UNSTABLE: Final = ("evidence_f1", "evidence_precision", "evidence_recall")
"""Numbers that hang on scores at the edge of a threshold, which differ in the last digits between machines."""
_SLACK: Final = 0.02


def save_pretrained(model_folder: str | Path, out: str | Path, card: str, report: Report | Mapping[str, Any]) -> Path:
    """Write a folder that is complete: weights, tokenizer, taxonomy, manifest, card and report.

    Raises `ModelError` for a damaged model folder, and `HubError` where card, report and model disagree or `out` has
    something in it.
    """
    model, folder = PublishedModel.read(model_folder), Path(out)
    plain = report.to_dict() if isinstance(report, Report) else report
    if folder.exists() and any(folder.iterdir()):
        raise HubError(f"{folder} is not empty; name a new folder")
    _check_card(card, plain, model)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / CARD, card.encode())
    write_whole(folder / REPORT, (json.dumps(plain, indent=1, allow_nan=False) + "\n").encode())
    # The manifest comes last: without it the folder is no model.
    for name in model.files:
        shutil.copyfile(model.folder / name, folder / name)
    return folder


def check_publishable(folder: str | Path, base: str | Path | None = None) -> dict[str, int]:
    """The files that would be published, with their sizes in bytes; nothing is sent.

    The card has to be the one that is generated from model and report. The report has to be the model's own: its
    scenarios are routed once more, and all numbers have to come out again but times, leakage and failures, which are
    as the report has them. `base` is the base model's folder, of an adapter. Raises `ModelError` for missing weights or
    wrong hashes, `DatasetError` for a file that is no report, and `HubError` where card, report and model disagree.
    """
    return _checked(folder, base)[1]


def _checked(folder: str | Path, base: str | Path | None) -> tuple[PublishedModel, dict[str, int]]:
    """`check_publishable`, with the model, whose files are read for it."""
    folder = Path(folder)
    model = PublishedModel.read(folder)
    for name in (CARD, REPORT):
        if not (folder / name).is_file():
            raise HubError(f"{folder / name}: missing; save_pretrained writes complete folders")
    report = read_report(folder / REPORT)
    try:
        card = (folder / CARD).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise HubError(f"{folder / CARD}: not UTF-8 ({error}); generate the card again") from None
    _check_card(card, report, model)
    _measure_again(model, report, base)
    return model, {name: (folder / name).stat().st_size for name in (*model.files, CARD, REPORT)}


def check_repository(repo: str) -> None:
    """Raise `HubError` for a name that is not `organisation/name`."""
    library = hub_library()
    try:
        library.utils.validate_repo_id(repo)
    except library.errors.HFValidationError as error:
        raise HubError(f"{repo}: that is no name of a repository, which is organisation/name ({error})") from None
    if repo.count("/") != 1:
        raise HubError(f"{repo}: that is no name of a repository, which is organisation/name")


def publish(
    folder: str | Path,
    repo: str,
    token: str | None = None,
    *,
    private: bool = True,
    replace: bool = False,
    base: str | Path | None = None,
) -> str:
    """Publish a folder of `save_pretrained` as `organisation/name` and return the address of the commit.

    The key is that of `HF_TOKEN`, or of `hf auth login`, where none is given. A repository that is not there is
    created, `private` or not; one that is keeps its visibility. One that holds something else than such a model is
    refused unless you say `replace`. All files become visible in one commit or none does. Raises what
    `check_publishable` raises, before anything is sent, and `HubError` that says what to do where the hub refuses.
    """
    check_repository(repo)
    model, sizes = _checked(folder, base)
    key = _key(token)
    if not key:
        raise HubError("no key: set HF_TOKEN to a key of the hub that may write")
    with _in_words(repo, key, sending=True):
        api = hub_library().HfApi(endpoint=_endpoint(), token=key, **_who())
        api.create_repo(repo, private=private, exist_ok=True)
        there = api.model_info(repo, revision="main")
        names = {file.rfilename for file in there.siblings or ()} - {".gitattributes"}
        if names and not names & _MANIFESTS and not replace:
            raise HubError(
                f"{repo} holds something else ({', '.join(sorted(names)[:_SHOWN])}); name another repository, or say "
                "that it is to be replaced (--replace)"
            )
        sent = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            allow_patterns=list(sizes),
            commit_message=f"Publish model {model.hash[:12]}",
            # Nobody else's commit in between is lost.
            parent_commit=there.sha,
        )
    return str(sent.commit_url)


def fetch(repo: str, revision: str | None = None) -> Path:
    """The folder of a published model, checked: from the cache where the hub cannot be reached.

    `revision` is a branch, a tag or a commit; it may also stand behind an `@`, as in `organisation/name@v1`. A key in
    `HF_TOKEN` is used for what is private. What the cache has damaged is fetched again. Raises `HubError` that says
    what to do, and `ModelError` for what is no model.
    """
    repo, _, behind = repo.partition("@")
    revision = revision or behind or None
    found = _download(repo, revision, again=False)
    try:
        PublishedModel.read(found)
    except ModelError:
        found = _download(repo, revision, again=True)
        try:
            PublishedModel.read(found)
        except ModelError as error:
            raise ModelError(f"{repo}: it holds no model that can be loaded ({error})") from None
    return found


def _download(repo: str, revision: str | None, *, again: bool) -> Path:
    with _in_words(repo, _key(None), sending=False):
        found = hub_library().snapshot_download(
            repo,
            revision=revision,
            allow_patterns=list(FILES),
            endpoint=_endpoint(),
            force_download=again,
            **_who(),
        )
    return Path(found)


def _check_card(card: str, report: Mapping[str, Any], model: PublishedModel) -> None:
    _refuse("card, report and model disagree", differences_from(card, model, report))


def _measure_again(model: PublishedModel, report: Mapping[str, Any], base: str | Path | None) -> None:
    """Refuse a report of another model, or one whose numbers are not those of its own scenarios."""
    scenarios = [_scenario(row, model.taxonomy, number) for number, row in enumerate(report["results"])]
    found = evaluate(load_router(model.folder, base), scenarios).to_dict()
    _refuse("the report is not of this model", list(_apart(_comparable(report), _comparable(found))))


def _scenario(row: Mapping[str, Any], taxonomy: Taxonomy, number: int) -> Scenario:
    try:
        return Scenario(
            Conversation.of(row["conversation"]),
            tuple(label_set(taxonomy, labels) for labels in row["accepted"]),
            row["id"],
            row["evidence"],
            row["difficulty"],
            row["domain"],
        )
    except (MemoryRoutingError, KeyError, TypeError) as error:
        raise DatasetError(f"{REPORT}: result {number}: {error}; make the report again") from None


def _comparable(report: Mapping[str, Any]) -> dict[str, Any]:
    """What has to come out again: all that does not hang on the machine, its load, or calls that failed."""
    left_out = {"timing", "leakage", "failures", "reliability", "model"}
    results = [{key: value for key, value in row.items() if key != "decision"} for row in report["results"]]
    return {key: value for key, value in report.items() if key not in left_out} | {"results": results}


def _apart(stated: Any, found: Any, path: str = "") -> Iterator[str]:
    """Where two plain values differ."""
    if isinstance(stated, Mapping) and isinstance(found, Mapping):
        for key in {**stated, **found}:
            yield from _apart(stated.get(key), found.get(key), f"{path}.{key}" if path else key)
    elif isinstance(stated, list) and isinstance(found, list) and len(stated) == len(found):
        for number, (one, other) in enumerate(zip(stated, found, strict=True)):
            yield from _apart(one, other, f"{path}[{number}]")
    elif not _same(stated, found, _SLACK if any(f".{name}." in path for name in _UNSTABLE) else 1e-9):
        yield f"{path}: the report says {stated}, the model reaches {found}"


def _same(stated: Any, found: Any, slack: float) -> bool:
    if isinstance(stated, float) and isinstance(found, float | int):
        return isclose(stated, found, abs_tol=slack, rel_tol=0)
    return bool(stated == found)


def _refuse(reason: str, differences: list[str]) -> None:
    if differences:
        listed = "".join(f"\n  {difference}" for difference in differences[:_SHOWN])
        more = f"\n  and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise HubError(
            f"not published: {reason}; make the report and the card again (memory-routing benchmark --model MODEL "
            f"--out report.json):{listed}{more}"
        )


@contextmanager
def _in_words(repo: str, key: str | None, *, sending: bool) -> Iterator[None]:
    """What the library raises, as one error that says what to do and never has the key in it."""
    try:
        yield
    except MemoryRoutingError:
        raise
    except Exception as error:  # its versions have three HTTP clients, with errors of their own
        # Of a large file that did not go through, the library wraps the reason.
        cause = error.__cause__ if type(error) is RuntimeError and error.__cause__ else error
        reason = _reason(cause, known=bool(key), sending=sending)
        raise HubError(f"{repo}: {_without(key, reason)}") from None


def _key(given: str | None) -> str | None:
    """The key, without the line end that a mounted secret often has. Raises `HubError` for what can be none."""
    key = (given or "").strip() or hub_library().get_token()
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise HubError("the key of the hub has characters that no key has; check HF_TOKEN")
    return key or None


def _without(key: str | None, text: str) -> str:
    return text.replace(key, "…") if key else text


def _reason(error: BaseException, *, known: bool, sending: bool) -> str:
    errors = hub_library().errors
    if isinstance(error, errors.HFValidationError):
        return f"that is no name of a repository, which is organisation/name ({error})"
    if isinstance(error, errors.RevisionNotFoundError):
        return "it has no such revision; name a branch, a tag or a commit of it"
    status = _status(error)
    if refusal := _refusal(status, known=known):
        return refusal
    # Of an answer not what the library says of it, which may hold a signed address.
    why = f"the hub failed ({status})" if status else f"the connection to the hub failed ({_first_line(error)})"
    if isinstance(error, errors.LocalEntryNotFoundError):
        cause = error.__cause__ or error
        status = _status(cause)
        why = f"the hub failed ({status})" if status else f"the hub cannot be reached ({_first_line(cause)})"
        return f"{why} and the model is not in the cache; try again"
    # One commit: nobody sees half of it. Whether it arrived cannot be known where its answer did not.
    return f"{why}; {'it is published whole or not at all; ' if sending else ''}try again"


def _refusal(status: int | None, *, known: bool) -> str | None:
    if status == 401 and known:
        return "the hub knows no such key or no such repository (401); check HF_TOKEN and the name"
    if status in (401, 404):
        return f"no such repository ({status}), or a private one; check the name, or set HF_TOKEN to its key"
    return "the key is not allowed to do this (403); make a key that is" if status == 403 else None


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _who() -> dict[str, str]:
    return {"library_name": "memory-routing", "library_version": version("memory-routing")}


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None
