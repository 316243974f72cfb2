"""Each fault with each operation: the exception, the requests, the text, and what may have been paid for."""

import json

import pytest
from faults.faults import (
    DONE,
    END,
    FAULTS,
    HELLO,
    JSON,
    OPERATIONS,
    Fault,
    in_memory,
    over_sockets,
    right_text,
)
from faults.matrix import Cell, read_table
from support.virtual_io import events, reply

TABLE = read_table()
ON_SOCKETS = ("run", "stream", "follow", "get", "download")


def test_no_cell_is_missing():
    """The table has a cell for each fault and each operation that the code names, and no others."""
    assert {fault: set(cells) for fault, cells in TABLE.items()} == {
        fault: set(OPERATIONS) for fault in FAULTS
    }


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_lasts(fault, kind):
    """Every request meets it: the cell says what comes of it."""
    found = {name: in_memory(kind, one, FAULTS[fault], once=False) for name, one in OPERATIONS.items()}
    assert found == {name: cell._replace(again=False) for name, cell in TABLE[fault].items()}


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_happens_once(fault, kind):
    """Only the first request meets it: where it is tried again, nothing of it is seen."""
    found = {name: in_memory(kind, one, FAULTS[fault], once=True) for name, one in OPERATIONS.items()}
    expected = {name: cell.once(right_text(OPERATIONS[name])) for name, cell in TABLE[fault].items()}
    # A prediction that goes on under another name is waited for: the fault alone is no fault then.
    expected = {name: cell._replace(again=False) for name, cell in expected.items()}
    assert found == expected


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if fault.wire])
def test_a_fault_over_sockets(fault, kind):
    """A real connection, without retries: the same exception and text, and not a request more."""
    found = {name: over_sockets(kind, OPERATIONS[name], FAULTS[fault]) for name in ON_SOCKETS}
    expected = {name: TABLE[fault][name].without_retries()._replace(again=False) for name in ON_SOCKETS}
    assert found == expected


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("name", ["run", "run by id", "stream by id", "create", "get"])
def test_an_answer_cut_at_any_byte(name, kind):
    """Half an answer that ends in good order is none, and what may have been paid for is not sent again."""
    whole = json.dumps(DONE).encode()
    expected = Cell("InvalidResponse", started=name != "get", again=False, requests=1, text="")
    for cut in range(len(whole)):
        fault = Fault(reply(200, whole[:cut], media_type=JSON))
        assert in_memory(kind, OPERATIONS[name], fault, once=False) == expected, cut


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("name", ["run on_text", "stream", "follow"])
def test_a_stream_cut_at_any_byte(name, kind):
    """It is interrupted, never a short answer; its text is a beginning of what the model said."""
    whole = HELLO + END
    for cut in range(len(whole)):
        found = in_memory(kind, OPERATIONS[name], Fault(events(whole[:cut])), once=False)
        assert found[:4] == ("StreamInterrupted", True, False, 1), cut
        assert "Hello".startswith(found.text), cut
