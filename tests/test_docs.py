"""What the README, the documentation and the examples say is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import memory_routing

ROOT = Path(__file__).parents[1]
EXTRAS = {
    "local": ["torch"],
    "tinker": ["tinker_cookbook"],
    "transformers": ["tinker_cookbook", "peft"],
    "server": ["fastapi", "peft"],
    "generation": ["datasketch", "matplotlib"],
    "cohere": ["cohere"],
    "pages": ["matplotlib"],
    "card": ["jinja2"],
}
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run(*command: str, cwd: Path = ROOT) -> str:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True, encoding="utf-8").stdout


def test_the_readme_shows_the_example_that_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    example = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")
    assert example.endswith(block)


def test_the_command_that_judges_is_the_one_of_the_readme() -> None:
    (command,) = re.findall(r"Run the tests:\n\n```bash\n(.*?)\n```", README)
    assert f"\n{command}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_generated_tables_and_outputs_are_up_to_date() -> None:
    run(sys.executable, "benchmarks/tables.py", "--check")


def test_the_main_job_runs_on_the_example_conversations() -> None:
    command = "memory-routing classify --jsonl examples/conversations.jsonl"
    assert command in README
    lines = run(sys.executable, "-m", "memory_routing", *command.split()[1:]).splitlines()
    assert len(lines) == 12


def test_the_example_of_an_own_reward_runs() -> None:
    output = run(sys.executable, "own_reward.py", cwd=ROOT / "examples")
    assert "'customer.open_issue, billing': -1.00, -1.00" in output
    assert "no errors" in output
    assert "policy always none" in output


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: str(p.relative_to(ROOT)))
def test_what_pages_name_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r'--8<-- "(.+?)"', text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"^::: (memory_routing[\w.]*)$", text, re.MULTILINE):
        module, _, attribute = name.rpartition(".")
        try:
            __import__(name)
        except ImportError:
            for extra, needed in EXTRAS.items():
                if module.startswith(f"memory_routing.{extra}"):
                    for package in needed:
                        pytest.importorskip(package, reason=f"the extra for memory_routing.{extra} is not installed")
            assert hasattr(__import__(module, fromlist=[attribute]), attribute), name


def test_every_public_name_is_in_the_reference() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    shown = set(re.findall(r"^::: memory_routing\.(\w+)$", pages, re.MULTILINE))
    assert set(memory_routing.__all__) <= shown


def test_the_changelog_knows_this_version() -> None:
    assert f"## {memory_routing.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_nothing_of_one_machine_is_in_the_tree() -> None:
    listed = run("git", "ls-files", "-z").split("\0") if (ROOT / ".git").exists() else []
    for name in filter(None, listed):
        file = ROOT / name
        if file.suffix in {".gz", ".onnx"} or not file.is_file():
            continue
        assert not re.search(r"/(work|farm|root)/", file.read_text(encoding="utf-8")), name
