"""The arrows between the rooms, and the rules that keep the tree readable."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ["api", "cli", "domain", "dynamics", "figures", "models", "store", "worker"]
MAX_LINES = 600


def tracked(*patterns: str) -> list[Path]:
    """Files under version control, or on their way there."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for line in done.stdout.splitlines() if (path := ROOT / line).exists()]


def imported(path: Path) -> set[str]:
    """Top-level names of every module that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def loaded_by(module: str) -> set[str]:
    """Top-level modules in a fresh interpreter after `import module`."""
    code = f"import {module}, sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_linter_contracts_are_kept():
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_api_starts_without_torch_and_numba():
    loaded = loaded_by("api.app")
    assert "fastapi" in loaded
    assert not loaded & {"torch", "numba", "llvmlite"}


def test_the_command_line_is_light():
    assert not loaded_by("cli.main") & {"torch", "numba", "fastapi", "celery", "matplotlib", "sqlalchemy"}


def test_domain_imports_pydantic_and_the_standard_library_only():
    allowed = set(sys.stdlib_module_names) | {"domain", "pydantic"}
    foreign = {str(path): names for path in tracked("domain/*.py") if (names := imported(path) - allowed)}
    assert not foreign


def test_the_client_imports_httpx_and_numpy_only():
    optional = {"IPython", "pandas", "plotly", "polars"}
    allowed = set(sys.stdlib_module_names) | {"attractor_client", "httpx", "numpy"} | optional
    foreign = {str(path): names for path in tracked("sdk/python/*.py") if (names := imported(path) - allowed)}
    assert not foreign
    assert not loaded_by("attractor_client") & optional


@pytest.mark.parametrize("room", ["models", "dynamics"])
def test_science_runs_without_server_database_and_queue(room):
    forbidden = {"fastapi", "starlette", "sqlalchemy", "celery", "redis", "httpx", "api", "store", "worker", "cli"}
    wrong = {str(path): names for path in tracked(f"{room}/*.py") if (names := imported(path) & forbidden)}
    assert not wrong


def test_tables_are_made_by_alembic_alone():
    wrong = [
        path
        for path in tracked(*(f"{room}/*.py" for room in ROOMS))
        if re.search(r"\bcreate_all\(|\bdrop_all\(", path.read_text())
    ]
    assert not wrong


def test_sql_stays_in_the_store():
    outside = [path for room in ROOMS if room != "store" for path in tracked(f"{room}/*.py")]
    wrong = [
        path
        for path in outside
        if re.search(r"from sqlalchemy import .*\b(select|insert|update|delete|text)\b", path.read_text())
    ]
    assert not wrong


def test_no_pickle_is_ever_loaded():
    code = [path for room in ROOMS for path in tracked(f"{room}/*.py")]
    wrong = [
        path
        for path in code
        if re.search(r"allow_pickle=True|\bpickle\.loads?\(|\btorch\.load\(|joblib", path.read_text())
    ]
    assert not wrong


def test_the_page_speaks_the_public_api_and_loads_nothing_from_elsewhere():
    for path in tracked("web/*.js", "web/*.html", "web/*.css"):
        content = path.read_text()
        addresses = re.findall(r"https?://[^\s\"'`)]+", content)
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, f"{path}: {addresses}"
        paths = re.findall(r"[\"'`](/[a-z][^\"'`\s]*)", content)
        assert all(p.startswith("/v1/") or p == "/docs" for p in paths), f"{path}: {paths}"


def test_the_page_keeps_to_its_content_security_policy():
    page = (ROOT / "web" / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page)
    for path in tracked("web/*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", path.read_text()
        ), path


def test_nothing_is_left_to_be_done():
    marks = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")
    wrong = [
        f"{path}: {match.group()}"
        for path in tracked("*.py", "*.js", "*.md", "*.yml", "Makefile")
        if (match := marks.search(path.read_text()))
    ]
    assert not wrong


def test_files_stay_short():
    long = {str(path): n for path in tracked("*.py", "*.js") if (n := path.read_text().count("\n")) > MAX_LINES}
    assert not long


def test_test_files_have_unique_names_and_make_no_packages():
    tests = tracked("tests/*.py")
    names = [path.name for path in tests if path.name.startswith("test_")]
    assert len(names) == len(set(names))
    assert not [path for path in tests if path.name == "__init__.py"]


def test_the_page_names_all_its_modules_at_once():
    """Without it the browser asks for them import by import, one round after the other."""
    named = re.findall(r'rel="modulepreload" href="([^"]+)"', (ROOT / "web" / "index.html").read_text())
    scripts = {path.name for path in tracked("web/*.js")} - {"app.js", "theme.js"}  # these two are in script elements
    assert set(named) == scripts
    assert len(named) == len(scripts)
