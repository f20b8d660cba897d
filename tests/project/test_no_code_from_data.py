"""No file, text or name from outside is ever run: the whole package and its pages are looked through, call by call."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FILES = [
    ROOT / "app.py",
    *(p for d in ("icm_engine", "pages", "tools", "sample_data") for p in (ROOT / d).rglob("*.py")),
]
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "yaml",
    "code",
    "codeop",
}
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pandas.read_pickle", "pd.read_pickle",
    "numpy.load", "np.load", "joblib.load", "yaml.load", "torch.hub.load", "runpy.run_path", "runpy.run_module",
}  # fmt: skip
# The one thing that runs code on purpose, see "A rule file is code" in docs/design.md.
RULES = ROOT / "icm_engine" / "core" / "custom_rules.py"


def test_the_whole_package_runs_nothing_from_outside() -> None:
    assert len(FILES) > 190
    found = [f"{path.relative_to(ROOT)}:{line}: {what}" for path in FILES for line, what in forbidden(path)]
    found = [line for line in found if not line.startswith(str(RULES.relative_to(ROOT)))]
    assert not found, "\n".join(found)


def test_rule_files_are_run_in_one_place_and_come_from_the_command_line() -> None:
    assert [what for _, what in forbidden(RULES)] == ["exec", "compile"]
    namers = {path.name for path in FILES if path != RULES and "rule_reference" in path.read_text(encoding="utf-8")}
    assert namers == {"data_commands.py", "notebook.py"}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "import yaml", "import dill as d", "eval(text)", "exec(text)",
        "compile(text, 'x', 'exec')", "os.system(text)", "torch.load(path)", "torch.load(path, weights_only=False)",
        "subprocess.run(text, shell=True)", "f(trust_remote_code=True)", "f(trust_remote_code=x)",
        "f(**{'trust_remote_code': True})", "np.load(path, allow_pickle=True)",
        "st.markdown(x, unsafe_allow_html=True)", "st.sidebar.html(f'<a>{x}</a>')",
        "st.html(text)", "st.write(text)", "pd.read_pickle(path)", "f(use_safetensors=False)",
        "db.enable_load_extension(1)",
        "f(allow_pickle=True)", "from builtins import eval",
    ],
)  # fmt: skip
def test_the_look_finds_what_is_forbidden(tmp_path: Path, code: str) -> None:
    path = tmp_path / "x.py"
    path.write_text(code, encoding="utf-8")
    assert list(forbidden(path))


def test_the_look_lets_through_what_is_safe(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "import json\ntorch.load(path, weights_only=True)\nsubprocess.run([a, b])\nf(trust_remote_code=False)\n"
        "re.compile(text)\nmodel.eval()\nst.html(CSS + DARK if dark else CSS)\n",
        encoding="utf-8",
    )
    assert not list(forbidden(path))


def forbidden(path: Path) -> Iterator[tuple[int, str]]:
    """Every line of a file that runs, or could run, what it is given; or shows it as HTML."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names if name.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            named = {str(node.module).split(".")[0]} & MODULES or {name.name for name in node.names} & CALLS
            yield from ((node.lineno, name) for name in named)
        elif isinstance(node, ast.Constant) and node.value in ("trust_remote_code", "unsafe_allow_html"):
            yield node.lineno, str(node.value)
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in _wrong_call(node))


def _wrong_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    constants = {key: value.value for key, value in given.items() if isinstance(value, ast.Constant)}
    if name in CALLS:
        yield name
    if name == "torch.load" and constants.get("weights_only") is not True:
        yield name
    if name in ("st.write", "st.components.v1.html") or (name.endswith(".html") and not _is_ours(node.args)):
        yield name
    if name.endswith("enable_load_extension"):
        yield name
    for key, safe in (("shell", False), ("trust_remote_code", False), ("allow_pickle", False),
                      ("unsafe_allow_html", False), ("use_safetensors", True)):  # fmt: skip
        if key in given and constants.get(key) is not safe:
            yield key


def _is_ours(arguments: list[ast.expr]) -> bool:
    """Whether HTML is put together of constants alone: names in capitals."""
    names = [node for argument in arguments for node in ast.walk(argument) if isinstance(node, ast.Name)]
    return all(name.id.isupper() or name.id == "dark" for name in names)
