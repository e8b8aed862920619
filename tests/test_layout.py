"""The rules of the layout: what a newcomer may rely on, and what would break the wheel or a clone."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PYPROJECT["tool"]["setuptools"]["packages"]
RINGS = ["encoders", "index", "retrieval", "ingest", "eval", "service"]


def code_folders():
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    return {
        Path(name).parent.as_posix() for name in tracked if not name.startswith("tests/") and (ROOT / name).exists()
    }


def modules():
    for package in PACKAGES:
        folder = ROOT.joinpath(*package.split(".")[1:])
        yield from ((package, path) for path in sorted(folder.glob("*.py")))


def test_every_code_folder_is_packaged():
    listed = {"/".join(package.split(".")[1:]) or "." for package in PACKAGES}
    assert listed == code_folders()


def test_the_root_holds_no_other_module():
    assert [path.name for path in ROOT.glob("*.py")] == ["__init__.py"]


def test_the_root_imports_nothing_at_import_time():
    tree = ast.parse((ROOT / "__init__.py").read_text())
    assert not [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]


def test_importing_the_package_is_free():
    heavy = "numpy numba onnxruntime tokenizers fastapi typer rich torch sqlite3"
    code = f"import sys, latefold; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert done.stdout.strip() == "[]"


def test_public_names_resolve():
    import latefold

    for name in latefold.__all__:
        assert getattr(latefold, name) is not None
    assert len(latefold.__all__) <= 11  # ten names and the version
    with pytest.raises(AttributeError):
        _ = latefold.nothing


def imports_of(package, path):
    """Modules of this package that a file imports, at whatever depth, as dotted names below the root."""
    inside = package.split(".")[1:]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = inside[: len(inside) - node.level + 1]
            yield ".".join([*base, *(node.module.split(".") if node.module else [])]) or node.names[0].name


def test_imports_go_one_way():
    wrong = []
    for package, path in modules():
        ring = package.split(".")[1] if "." in package else None
        for target in imports_of(package, path):
            other = target.split(".")[0]
            if ring and other in RINGS and RINGS.index(other) > RINGS.index(ring):
                wrong.append(f"{path.relative_to(ROOT)} imports {target}")
    assert wrong == []


def test_the_package_never_names_itself():
    pattern = re.compile(r"^\s*(from|import) latefold\b", re.MULTILINE)
    assert [path.name for _, path in modules() if pattern.search(path.read_text())] == []


def test_no_unsafe_loading():
    banned = {"pickle", "joblib", "dill", "marshal", "shelve"}
    wrong = []
    for _, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if banned & {name.split(".")[0] for name in names}:
                wrong.append(f"{path.name}:{node.lineno}")
            if (
                isinstance(node, ast.keyword)
                and node.arg in ("allow_pickle", "shell")
                and ast.unparse(node.value) != "False"
            ):
                wrong.append(f"{path.name}:{node.value.lineno} {node.arg}")
    assert wrong == []


def test_files_stay_small():
    long = [f"{path.name} {n}" for _, path in modules() if (n := path.read_text().count("\n")) > 400]
    assert long == []


def test_makefile_has_at_most_seven_verbs():
    verbs = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert 0 < len(verbs) <= 7


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the checkout without network access to build requirements."""
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in files:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_package_and_nothing_else(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"latefold"}
    assert not [name for name in names if name.startswith("latefold/tests/")]
    assert {"py.typed", "encoders/models/minilm/model.onnx", "encoders/models/latefold/delta.safetensors"} <= {
        name.removeprefix("latefold/") for name in names
    }
    code = "import latefold; print(latefold.__file__); latefold.load_encoder('default').encode_queries(['hello'])"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))
