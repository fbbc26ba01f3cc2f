"""What runs on GitHub: who may write there, and whose code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
WORKFLOWS = {path.name: yaml.safe_load(path.read_text("utf-8")) for path in FILES}
JOBS = [(name, job) for name, workflow in WORKFLOWS.items() for job in workflow["jobs"]]
PINNED = re.compile(r"(?:- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(?:\.\d+){1,2}")
# What runs code that was installed from a package index, or the project's own.
INSTALLS = re.compile(r"\b(?:make|pip|python\d?|\.venv|npm|apt-get|curl|wget)\b")


def permissions(name: str, job: str) -> dict[str, str]:
    """What a job may do: its own list, else that of its workflow, else everything."""
    workflow = WORKFLOWS[name]
    given = workflow["jobs"][job].get("permissions", workflow.get("permissions", "write-all"))
    return given if isinstance(given, dict) else {"everything": str(given)}


def writes(name: str, job: str) -> set[str]:
    return {what for what, how in permissions(name, job).items() if how not in ("read", "none", "read-all")}


def steps(name: str, job: str) -> list[dict[str, object]]:
    return WORKFLOWS[name]["jobs"][job]["steps"]


def faults(name: str, job: str) -> list[str]:
    """What is wrong with a job: it writes and runs what it installed, or it keeps a key that it does not need."""
    runs = [str(step.get("run", "")) for step in steps(name, job)]
    found = []
    if writes(name, job):
        found += [f"may write, and runs {match[0]}" for run in runs if (match := INSTALLS.search(run))]
        found += ["may write, and sets up Python" for step in steps(name, job) if "setup-" in str(step.get("uses", ""))]
    else:
        for step in steps(name, job):
            if str(step.get("uses", "")).startswith("actions/checkout@"):
                kept = dict(step.get("with", {})).get("persist-credentials", True)
                found += ["leaves the key of the repository in the checkout"] if kept else []
    return found


def test_there_are_workflows():
    assert len(FILES) == 2
    assert len(JOBS) == 4


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_do_nothing_that_a_job_does_not_ask_for(name):
    assert WORKFLOWS[name]["permissions"] == {}


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_job_that_installs_or_runs_the_project_cannot_write(name, job):
    assert permissions(name, job).keys() <= {"contents", "pages", "id-token"}
    assert faults(name, job) == []


def test_only_the_two_jobs_that_publish_can_write_each_what_it_publishes():
    assert {job: writes(name, job) for name, job in JOBS if writes(name, job)} == {
        "deploy": {"pages", "id-token"},
        "notebooks": {"contents"},
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit_and_names_its_release(path):
    used = [line.strip() for line in path.read_text("utf-8").splitlines() if re.match(r"\s*(- )?uses:", line)]
    assert used
    assert [line for line in used if not PINNED.fullmatch(line)] == []


def test_an_action_is_the_same_wherever_it_is_used():
    used = {line for path in FILES for line in re.findall(r"uses: (.*)", path.read_text("utf-8"))}
    assert len(used) == len({line.partition("@")[0] for line in used})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_script_pastes_what_others_can_choose(path):
    """`${{ github.head_ref }}` in a script is the script of whoever names a branch."""
    runs = [str(step.get("run", "")) for name, job in JOBS if name == path.name for step in steps(name, job)]
    assert [run for run in runs if "${{" in run] == []
    assert "pull_request_target" not in path.read_text("utf-8")


UNSAFE = {
    "installs": "jobs: {a: {permissions: {contents: write}, steps: [{run: make book}]}}",
    "by default": "jobs: {a: {steps: [{run: pip install x}]}}",
    "keeps the key": "jobs: {a: {permissions: {contents: read}, steps: [{uses: actions/checkout@v4}]}}",
}


@pytest.mark.parametrize("text", UNSAFE.values(), ids=UNSAFE)
def test_an_unsafe_job_is_found(text, monkeypatch):
    monkeypatch.setitem(WORKFLOWS, "made-up.yml", yaml.safe_load(text))
    assert len(faults("made-up.yml", "a")) == 1


@pytest.mark.parametrize("line", ["uses: actions/checkout@v4", "uses: a/b@" + "0" * 40, "uses: a/b@1234567 # v1.2.0"])
def test_an_action_that_is_not_pinned_is_found(line):
    assert not PINNED.fullmatch(line)
