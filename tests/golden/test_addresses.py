"""Addresses of pages lead where they led: see `golden/addresses.py`, which has a row for each parameter and value."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.golden.addresses import ADDRESSES, ELSEWHERE, MENU, Address, fill
from tests.golden.in_process import session
from tests.support.drawn_pages import app
from tests.support.paths import ROOT

READ = re.compile(  # how pages read a parameter
    r"""query_params\.get(?:_all)?\("(\w+)"|query_params\["(\w+)"\]|"(\w+)" in st\.query_params|asked\.get\("(\w+)"
    |\bnumber\("(\w+)"|\bchoice\("(\w+)"|\bturned\("(\w+)"|_asked\("(\w+)"\)
    |_choice\("\w+",\s"(\w+)"|address,\s*args=\("(\w+)",""",
    re.VERBOSE,
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A database with everything that the addresses name, made once."""
    with session(tmp_path_factory.mktemp("addresses")) as now:
        fill(now)
        now.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICM_DB", str(now.database))
        yield now.database


@functools.cache
def lines(database: Path, page: str, query: frozenset[tuple[str, str]]) -> list[str]:
    """What a page shows, an element a line."""
    test = app()
    test.query_params.update(dict(query))
    (test.switch_page(f"pages/{page}.py") if page else test).run()
    assert not test.exception, [error.value for error in test.exception]
    return list(_lines(test))


def _lines(test: AppTest) -> Iterator[str]:
    for element in test.main:
        value: Any = getattr(element, "value", None)
        if element.type in ("dataframe", "arrow_data_frame"):
            value = " ".join(map(str, value.to_numpy().ravel()))
        elif element.type == "page_link":
            value = element.proto.label
        elif value is None and element.type == "pagination":
            value = element.proto.default
        if value is not None:
            yield f"{element.type} {' '.join(str(value).split())}"


def named(address: Address) -> str:
    return f"{address.page}?{address.parameter}={address.value}"


@pytest.mark.parametrize("address", ADDRESSES, ids=named)
def test_a_parameter_does_what_it_did(filled: Path, address: Address) -> None:
    others = frozenset(address.others.items())
    found = lines(filled, address.page, others | {(address.parameter, address.value)})
    assert any(re.search(address.shows, line) for line in found), "\n".join(found)
    before = lines(filled, address.page, others)
    assert not any(re.search(address.shows, line) for line in before), "it shows the same without the parameter"


def test_every_parameter_that_a_page_reads_has_a_row() -> None:
    """A new one needs a row; one that no page reads any more is missed by those who kept its address."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "pages").rglob("*.py")))
    read = {name for match in READ.findall(text) for name in match if name}
    assert read == {address.parameter for address in ADDRESSES} | {parameter for _, parameter in ELSEWHERE}


def test_what_other_tests_open_is_there() -> None:
    for (_, parameter), where in ELSEWHERE.items():
        assert parameter in (ROOT / "tests" / where.split(":")[0]).read_text(encoding="utf-8")


def test_pages_have_the_addresses_they_had(filled: Path) -> None:
    pages = {f"/{path.stem}" for path in (ROOT / "pages").glob("*.py")}
    assert pages | {"/"} == set(MENU)
    for page in MENU:
        assert lines(filled, page.strip("/"), frozenset())
