"""Run a reward function in a fresh interpreter: the other half of `lint_reward`'s hash-seed check."""

from __future__ import annotations

import json
import pickle
import runpy
import sys


def main() -> None:
    """Read a request from standard input and write the totals as the last line of standard output."""
    request = json.loads(sys.stdin.read())
    if request["script"] is not None:
        # As multiprocessing does: the script's own guard keeps its main part from running.
        sys.modules["__main__"].__dict__.update(runpy.run_path(request["script"], run_name="__mp_main__"))
    # The payload was pickled by the parent process a moment ago; it is no stored file.
    reward, pairs, taxonomy = pickle.loads(bytes.fromhex(request["payload"]))
    totals = [reward(taxonomy.labels(*predicted), taxonomy.labels(*gold)).total for predicted, gold in pairs]
    print(json.dumps(totals))


if __name__ == "__main__":
    main()
