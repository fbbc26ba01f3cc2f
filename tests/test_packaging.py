"""What is installed: the wheel and the sdist, the requirements of each wing, and what is said where one is missing."""

from __future__ import annotations

import ast
import email
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOUR = {"torch", "numpy", "numba", "scipy"}


def git(folder, *words):
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


# requirements


def names(requirements):
    """Distributions that requirements name, in the one spelling that all tools compare."""
    plain = (re.sub(r"\A(?!heavytail)(\w+)\[\w+\]", r"\1", text) for text in requirements)
    return {re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;]", text)[0]).lower() for text in plain}


def extra(name):
    """Distributions that an extra brings, with the extras that it names and the library's own."""
    if name is None:
        return names(PROJECT["dependencies"])
    listed = names(PROJECT["optional-dependencies"][name])
    inner = {match[1] for text in listed if (match := re.fullmatch(r"heavytail\[(\w+)\]", text))}
    return set().union(listed - {f"heavytail[{other}]" for other in inner}, *map(extra, inner or {None}))


def imported(source):
    """Top-level packages that a text of Python imports anywhere in it, by name in `need` and `importorskip` too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("need", "import_module", "importorskip"):
                found.add(str(node.args[0].value))
    return {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names) - {"heavytail"}


installed_distributions = cache(packages_distributions)


def distributions(packages, own=frozenset()):
    """The distribution of each imported package, from what is installed here."""
    known = installed_distributions()
    missing = packages - own - known.keys()
    assert not missing, f"not installed here, so nobody knows which distribution brings it: {missing}"
    return {package: names(known[package]) for package in packages - own}


def cells(page):
    """The code cells of a page, without their options and without lines that only a notebook reads."""
    for block in re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        lines = re.sub(r"\A---\n.*?^---\n", "", block, flags=re.MULTILINE | re.DOTALL).splitlines()
        yield "\n".join(line for line in lines if not line.startswith((":", "%", "!")))


def sources(folder, wing):
    """The texts of a wing: the library is what lies at the top and the sampler, the book has pages and figures."""
    package = folder / "heavytail"
    top = {"lab", "evidence", "book"}
    if wing == "library":
        return [p for p in package.rglob("*.py") if p.relative_to(package).parts[0] not in top]
    if wing == "figures":
        return list((package / "book" / "figures").rglob("*.py"))
    if wing == "tests":
        return list((folder / "tests").rglob("*.py"))
    return list((package / wing).rglob("*.py"))


# What a wing needs. The kernels for a GPU are in Triton, which comes with torch for CUDA. One case of `heavytail bench`
# uses Dask, and says so without it. What is shipped is saved and measured with an extra; Flower runs the apps of one.
WINGS = {"library": None, "lab": "lab", "evidence": "lab", "figures": "figures", "book": "book", "tests": "test"}
SHIPPED = {"safetensors", "onnx", "onnxscript", "onnxruntime", "torch_pruning"}
OPTIONAL = {
    "library": {"triton", "flwr"} | SHIPPED,
    "lab": {"dask", "distributed"} | SHIPPED,
    "tests": {"heavy_federation"},  # of examples/federated
}


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_nothing_that_its_extra_does_not_bring(wing):
    paths = sources(ROOT, wing)
    texts = [path.read_text(encoding="utf-8") for path in paths]
    if wing == "book":
        texts += [cell for page in (ROOT / "book").glob("*.md") for cell in cells(page.read_text(encoding="utf-8"))]
    assert len(texts) > 4
    own = {path.stem for path in paths} if wing == "tests" else frozenset()
    packages = set().union(*map(imported, texts)) - OPTIONAL.get(wing, set())
    brought = extra(WINGS[wing])
    lacking = {package for package, homes in distributions(packages, own).items() if not homes & brought}
    assert not lacking, f"the extra {WINGS[wing]} lacks what brings {lacking}"


def test_the_library_needs_four_packages_and_an_extra_nothing_that_nobody_imports():
    assert extra(None) == FOUR
    by_name = {"pyarrow"}  # pandas loads it to read and write tables
    for wings, name in ((("library",), None), (("lab", "evidence"), "lab"), (("figures",), "figures")):
        texts = [path.read_text(encoding="utf-8") for wing in wings for path in sources(ROOT, wing)]
        used = set().union(*distributions(set().union(*map(imported, texts))).values())
        inner = {None: set(), "lab": FOUR, "figures": extra("lab")}[name]
        assert extra(name) - inner - by_name <= used


def test_the_pins_have_every_requirement_of_every_extra():
    pinned = names(line for line in (ROOT / "requirements.txt").read_text().splitlines() if line[:1] not in ("#", ""))
    assert extra("test") <= pinned


def test_an_import_that_an_extra_lacks_is_seen(tmp_path):
    assert imported("def f():\n    from sklearn.x import y\nneed('yaml')\nimport os, heavytail.lab\n") == {
        "sklearn",
        "yaml",
    }
    (cell,) = cells(
        "```{code-cell} python\n---\ntags: [a]\n---\nimport seaborn\n%magic\n```\n```python\nimport no\n```\n"
    )
    assert imported(cell) == {"seaborn"}
    assert distributions({"sklearn", "yaml"}) == {"sklearn": {"scikit-learn"}, "yaml": {"pyyaml"}}
    assert extra("lab") >= FOUR | {"scikit-learn"}
    assert "matplotlib" not in extra("lab")
    assert {"heavytail", "heavytail[lab]"}.isdisjoint(extra("test"))


def test_only_what_every_system_has_is_imported_before_it_is_needed():
    unix = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog", "readline", "curses"}
    eager = {}
    for wing in ("library", "lab", "evidence"):
        for path in sources(ROOT, wing):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            found = {a.name for node in body if isinstance(node, ast.Import) for a in node.names}
            found |= {node.module for node in body if isinstance(node, ast.ImportFrom)}
            eager[path.name] = found & unix
    assert not {name: found for name, found in eager.items() if found}


# the wheel and the sdist

BUILD = """
import sys
from setuptools import build_meta
out, *kinds = sys.argv[1:]  # setuptools writes words of its own there
for kind in kinds:
    getattr(build_meta, "build_" + kind)(out)
"""


def copy(folder):
    """What git tracks or would track, in a folder of its own: a build leaves files behind."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ":!data", ":!shared")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())


def commit(folder):
    """Make a folder a repository of its own, with everything in one commit."""
    git(folder, "init", "-q")
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "all")


def build(folder, out, *kinds, address=""):
    """What is built of a folder without a network; `address` is what HEAVYTAIL_REPOSITORY says."""
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-W", "ignore", "-c", BUILD, str(out), *kinds]
    environment = known | {"HEAVYTAIL_REPOSITORY": address}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    endings = {"wheel": "*.whl", "sdist": "*.tar.gz"}
    return [path for kind in kinds for path in out.glob(endings[kind])]


def files_of(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return [name for name in archive.namelist() if ".dist-info/" not in name]


def text_of(wheel, ending):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(ending))
        return archive.read(name).decode()


def commit_of(wheel):
    names: dict[str, object] = {}
    exec(text_of(wheel, "heavytail/version.py").partition("@cache")[0], names)
    return names["COMMIT"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """This project as a repository of its own with one commit."""
    folder = tmp_path_factory.mktemp("clone")
    copy(folder)
    commit(folder)
    return folder


@pytest.fixture(scope="module")
def built(repository, tmp_path_factory):
    """Its wheel and sdist, with an address; and a wheel made from the sdist where neither git nor an address is."""
    first, second, third = (tmp_path_factory.mktemp(name) for name in ("first", "second", "third"))
    wheel, sdist = build(repository, first, "wheel", "sdist", address="https://example.org/someone/project")
    with tarfile.open(sdist) as archive:
        archive.extractall(second, filter="data")
    (unpacked,) = second.iterdir()
    (again,) = build(unpacked, third, "wheel")
    return wheel, sdist, again


@pytest.mark.long
def test_a_wheel_holds_three_wings_and_nothing_of_the_book(built):
    files = files_of(built[0])
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "heavytail").rglob("*")
        if path.suffix in (".py", ".typed") and "book" not in path.relative_to(ROOT).parts
    }
    assert set(files) == wanted
    assert "heavytail/py.typed" in files
    assert {name.split("/")[1] for name in files if name.count("/") > 1} >= {"_sampler", "lab", "evidence"}
    assert not any(name.startswith(("heavytail/book", "tests", "book", "data")) for name in files)


def test_a_wheel_made_from_the_sdist_is_the_same_wheel(built):
    wheel, sdist, again = built
    assert files_of(again) == files_of(wheel)
    for ending in ("heavytail/version.py", ".dist-info/METADATA", ".dist-info/entry_points.txt", "heavytail/cli.py"):
        assert text_of(again, ending) == text_of(wheel, ending)
    with tarfile.open(sdist) as archive:
        rooms = {name.split("/", 2)[1] for name in archive.getnames() if "/" in name}
    assert rooms == {
        *("heavytail", "heavytail.egg-info", "PKG-INFO", "setup.cfg", "setup.py", "pyproject.toml", "MANIFEST.in"),
        *("README.md", "CHANGELOG.md", "LICENSE", "CITATION.cff"),
    }


def test_a_build_knows_its_commit_and_leaves_the_source_alone(repository, built):
    known = git(repository, "describe", "--always", "--exclude=*")
    assert [commit_of(wheel) for wheel in (built[0], built[2])] == [known, known]
    assert "COMMIT: str | None = None\n" in (repository / "heavytail" / "version.py").read_text()
    assert git(repository, "status", "--porcelain", "--untracked-files=no") == ""


def test_without_a_repository_of_its_own_a_build_names_no_commit_and_shows_no_picture(tmp_path):
    theirs = tmp_path / "theirs"
    copy(theirs / "vendored")
    commit(theirs)
    (wheel,) = build(theirs / "vendored", tmp_path, "wheel")
    assert commit_of(wheel) is None
    page = described(wheel)
    assert "![" not in page
    assert "A column is a neuron" not in page


def test_a_build_of_changed_files_says_so(repository, tmp_path):
    changed = repository / "CHANGELOG.md"
    before = changed.read_bytes()
    changed.write_bytes(before + b"more")
    try:
        (wheel,) = build(repository, tmp_path, "wheel")
    finally:
        changed.write_bytes(before)
    assert commit_of(wheel).endswith("-dirty")


def test_a_package_index_shows_the_picture_where_the_address_is_known(repository, built):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (picture,) = re.findall(r"!\[[^\]]*\]\((book/[^)]*)\)", readme)
    assert (ROOT / picture).is_file()
    head = git(repository, "rev-parse", "HEAD")
    assert f"](https://example.org/someone/project/raw/{head}/{picture})" in described(built[0])


def described(wheel):
    """What a package index shows of a wheel: Markdown in which nothing leads to a file beside it."""
    message = email.message_from_string(text_of(wheel, "METADATA"))
    assert message["Description-Content-Type"].startswith("text/markdown")
    page = message.get_payload()
    assert "pip install" in page
    assert "<!--" not in page
    assert not re.search(r"\]\((?!https://)", page)
    return page


def test_the_version_is_the_same_wherever_it_stands():
    from heavytail.version import __version__

    assert set(re.findall(r"^ *version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)) == {__version__}
    assert __version__ in (ROOT / "CHANGELOG.md").read_text()


# where something is missing

PROGRAM = """
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

class Without:
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else PathFinder.find_spec(name, path, target)

# Nothing else: the finder of an editable install would find the rooms of this checkout in another copy of the package.
sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Without]
sys.path.insert(0, PACKAGE)
import heavytail
assert heavytail.__file__.startswith(PACKAGE)
"""
EXTRAS = SHIPPED | {
    "pandas",
    "pyarrow",
    "sklearn",
    "torchvision",
    "sphinx",
    "platformdirs",
    "matplotlib",
    "seaborn",
    "yaml",
}


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The wheel, unpacked: a folder to put on the path, in which there is no book."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(built[0]) as archive:
        archive.extractall(folder)
    return folder


def run(code, package, cwd, absent=frozenset()):
    """What a fresh Python prints that takes heavytail from the folder `package` and cannot import what is absent."""
    program = f"ABSENT = {set(absent)!r}\nPACKAGE = {str(package)!r}{PROGRAM}{code}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


LIBRARY = """
import torch
adding = torch.optim.Optimizer.add_param_group
torch.optim.Optimizer.add_param_group = getattr(adding, "__wrapped__", adding)  # without torch's compiler: 7 s

class Standing(torch.optim.Optimizer):
    def step(self, closure=None):
        pass

generator = torch.Generator().manual_seed(1)
model = torch.nn.Sequential(torch.nn.Linear(4, 8, bias=False), torch.nn.ReLU(), torch.nn.Linear(8, 2, bias=False))
before = model[0].weight.detach().clone()
optimizer = Standing(model.parameters(), {"lr": 0.1})
heavytail.perturb(optimizer, params=[model[0].weight], alpha=1.75, sigma=0.01, noise="isotropic", generator=generator)
model(torch.ones(3, 4)).sum().backward()
optimizer.step()
assert (model[0].weight != before).all()
for name in ("stable", "noise", "compress", "networks", "tails", "laws", "sde", "streams"):
    getattr(heavytail, name)
print(heavytail.laws.required_width(1.5, keep=0.1, error=0.1))
print("heavytail.lab" in sys.modules)
"""


@pytest.mark.long
def test_the_library_works_where_none_of_the_extras_is_installed(tmp_path):
    width, rest = run(LIBRARY, ROOT, tmp_path, absent=EXTRAS)
    assert 895868 < float(width) < 895870
    assert rest == "False"


def test_importing_the_front_door_imports_neither_torch_nor_numba(tmp_path):
    code = "print(sorted({'torch', 'numba', 'numpy', 'scipy', 'pandas', 'heavytail.cli'} & sys.modules.keys()))"
    assert run(code, ROOT, tmp_path) == ["[]"]


def test_a_training_imports_nothing_that_takes_longer_than_it(tmp_path):
    code = """
run = heavytail.Run(dataset="digits", width=4, lr=0.1, noise="shared", alpha=1.5, sigma=0.1, max_steps=1)
heavytail.train(run, progress=False)
print(sorted({"sympy", "scipy.stats", "sklearn", "matplotlib"} & sys.modules.keys()))
"""
    assert run(code, ROOT, tmp_path) == ["[]"]


WITHOUT_LAB = """
from heavytail.cli import main
for name in ("Run", "grid", "train", "sweep", "Results"):
    try:
        getattr(heavytail, name)
    except ImportError as error:
        print(error.name, error)
sys.stderr = sys.stdout
for line in ("train g --out t.parquet", "sweep g --store s", "simulate g --out t.parquet", "claims", "data"):
    assert main(line.split()) == 2
"""


@pytest.mark.long
def test_a_name_or_a_command_of_the_lab_says_what_to_install(tmp_path):
    lines = run(WITHOUT_LAB, ROOT, tmp_path, absent=EXTRAS | {"tqdm"})
    assert len(lines) == 10
    for name, line in zip(("Run", "grid", "train", "sweep", "Results"), lines[:5], strict=True):
        assert re.fullmatch(rf"(\w+) heavytail\.{name} needs \1: pip install 'heavytail\[lab\]'", line)
    for name, line in zip(("train", "sweep", "simulate", "claims", "data"), lines[5:], strict=True):
        assert re.fullmatch(
            rf"heavytail: (heavytail\.{name}|`heavytail {name}`) needs \w+: pip install 'heavytail\[lab\]'", line
        )


NEEDED = ["pandas", "tqdm", "pyarrow", "safetensors"]  # pandas first: what was imported is not absent
BY_NAME = f"""
for absent in {NEEDED}:
    ABSENT = {{absent}}
    for name in list(sys.modules):
        if name.partition(".")[0] in ("heavytail", absent):
            del sys.modules[name]
    for line in ("from heavytail.lab import datasets", "import heavytail.lab.runs", "import heavytail.evidence.claims"):
        try:
            exec(line)
        except ImportError as error:
            print(error)
"""


def test_a_wing_that_is_imported_by_name_says_what_to_install(tmp_path):
    lines = run(BY_NAME, ROOT, tmp_path)
    assert len(lines) == 3 * len(NEEDED)
    for number, line in enumerate(lines):
        sentence = rf"heavytail\.(lab|evidence) needs {NEEDED[number // 3]}: pip install 'heavytail\[lab\]'"
        assert re.fullmatch(sentence, line)


WITHOUT_BOOK = """
from heavytail.cli import main
sys.stderr = sys.stdout
assert main(["chapter", "story"]) == main(["claims"]) == 2
main(["--version"])
"""


@pytest.mark.long
def test_an_installed_wheel_says_where_the_book_and_the_tables_are_and_what_it_was_built_from(
    installed, built, tmp_path
):
    assert run(WITHOUT_BOOK, installed, tmp_path) == [
        "heavytail: `heavytail chapter` needs the book, which is in the repository and not in the package: "
        "clone it and work there",
        "heavytail: there is no results folder data/results: run this in a clone, or name it with --results",
        f"heavytail 0.1.0+{commit_of(built[0])}",
    ]
