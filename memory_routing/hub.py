"""Publishing a model on a model hub and fetching one, through `huggingface_hub`. Nothing fetched is executed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from math import isclose
from pathlib import Path
from typing import Any, Final

from memory_routing.claims import check_card, claims, hub_library, read_report
from memory_routing.embedded.folder import GRAPH, MANIFEST, TAXONOMY, TOKENIZER, ModelFolder
from memory_routing.embedded.router import EmbeddedRouter
from memory_routing.errors import HubError, MemoryRoutingError
from memory_routing.evaluation import evaluate
from memory_routing.files import write_whole
from memory_routing.scenarios import read_scenarios

__all__ = ["CARD", "REPORT", "check_publishable", "fetch", "publish", "save_pretrained"]

CARD: Final = "README.md"
REPORT: Final = "report.json"
FILES: Final = (GRAPH, TOKENIZER, TAXONOMY, MANIFEST, CARD, REPORT)
"""All of a published folder. No other file is sent, and no other is fetched."""
_SHOWN: Final = 5


def save_pretrained(model_folder: str | Path, out: str | Path, card: str, report: Mapping[str, Any]) -> Path:
    """Write a folder that is complete: weights, tokenizer, taxonomy, manifest, card and report.

    Raises `ModelError` for a damaged model folder, and `HubError` where card, report and model disagree.
    """
    source, folder = Path(model_folder), Path(out)
    _check_claims(card, report, ModelFolder.read(source))
    # The manifest last: without it the folder is no model.
    for name in (GRAPH, TOKENIZER, TAXONOMY):
        write_whole(folder / name, (source / name).read_bytes())
    write_whole(folder / CARD, card.encode())
    write_whole(folder / REPORT, (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
    write_whole(folder / MANIFEST, (source / MANIFEST).read_bytes())
    return folder


def check_publishable(folder: str | Path) -> dict[str, int]:
    """The files that would be published, with their sizes in bytes; nothing is sent.

    The report has to be the model's own: its scenarios are routed once more, and the headline numbers have to come out
    again. Raises `ModelError` for missing weights or wrong hashes, `DatasetError` for a file that is no report, and
    `HubError` where card, report and model disagree.
    """
    folder = Path(folder)
    model = ModelFolder.read(folder)
    for name in (CARD, REPORT):
        if not (folder / name).is_file():
            raise HubError(f"{folder / name}: missing; save_pretrained writes complete folders")
    report = read_report(folder / REPORT)
    try:
        card = (folder / CARD).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise HubError(f"{folder / CARD}: not UTF-8 ({error}); generate the card again") from None
    _check_claims(card, report, model)
    _measure_again(folder, report)
    return {name: (folder / name).stat().st_size for name in FILES}


def publish(folder: str | Path, repo: str, token: str | None = None, *, private: bool = True) -> str:
    """Publish a folder of `save_pretrained` as `organisation/name` and return the address of the commit.

    The key is that of `HF_TOKEN` where none is given. A repository that is not there is created, `private` or not; one
    that is keeps its visibility. All files become visible in one commit or none does. Raises what `check_publishable`
    raises, before anything is sent, and `HubError` that says what to do where the hub refuses or fails.
    """
    check_publishable(folder)
    key = token or os.environ.get("HF_TOKEN")
    if not key:
        raise HubError("no key: set HF_TOKEN to a key of the hub that may write")
    with _in_words(repo, key, sending=True):
        api = hub_library().HfApi(endpoint=_endpoint(), token=key, **_who())
        api.create_repo(repo, private=private, exist_ok=True)
        message = f"Publish model {ModelFolder.read(Path(folder)).manifest.hash[:12]}"
        sent = api.upload_folder(repo_id=repo, folder_path=folder, allow_patterns=list(FILES), commit_message=message)
    return str(sent.commit_url)


def fetch(repo: str, revision: str | None = None) -> Path:
    """The folder of a published model, for `Router.load`: from the cache where the hub cannot be reached.

    `revision` is a branch, a tag or a commit. A key in `HF_TOKEN` is used for what is private. Raises `HubError` that
    says what to do.
    """
    with _in_words(repo, os.environ.get("HF_TOKEN"), sending=False):
        found = hub_library().snapshot_download(
            repo,
            revision=revision,
            allow_patterns=list(FILES),
            endpoint=_endpoint(),
            token=os.environ.get("HF_TOKEN"),
            **_who(),
        )
    return Path(found)


def _check_claims(card: str, report: Mapping[str, Any], model: ModelFolder) -> None:
    _refuse("card, report and model disagree", check_card(card, report, model=model.manifest.hash))


def _measure_again(folder: Path, report: Mapping[str, Any]) -> None:
    """Refuse a report of another model, or one whose numbers are not those of its own scenarios."""
    rows = [
        {
            "id": str(number),
            "conversation": row["conversation"],
            "accepted": row["accepted"],
            "labels": {"categories": row["accepted"][0], "evidence": row.get("evidence")},
        }
        for number, row in enumerate(report["results"])
    ]
    router = EmbeddedRouter(folder)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "scenarios.json"
        path.write_text(json.dumps(rows), encoding="utf-8")
        found = claims(evaluate(router, read_scenarios(path, router.taxonomy)).to_dict())
    # Labels are the same on every machine. A score at the edge of the evidence threshold may not be.
    stated = {name: claim for name, claim in claims(report).items() if "evidence" not in name}
    differences = [
        f"{name}: the report says {claim}, the model reaches {found.get(name, 'nothing')}"
        for name, claim in stated.items()
        if name not in found or not isclose(claim.value, found[name].value, abs_tol=1e-9) or claim.n != found[name].n
    ]
    _refuse("the report is not of this model", differences)


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
        raise HubError(f"{repo}: {reason.replace(key, '…') if key else reason}") from None


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
