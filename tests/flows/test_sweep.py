"""The sweep flow; test_looking.py tests what a sweep does."""

from prefect.client.orchestration import get_client

from flows.sweep import SHEET_BYTES, sweep_flow


def test_the_sheet_is_on_the_page_and_in_the_folder(at_server, write_scan, tmp_path):
    path, output = write_scan("stm_0001.npy"), tmp_path / "sweep"
    state = sweep_flow(
        path, output, models=["huber-rof"], lam=[0.5, 5], further=["median.rows=1,3"], return_state=True
    )
    assert state.message.startswith("4 points, 0 failed")
    (sheet,) = output.glob("*.png")
    assert str(sheet) in state.message
    with get_client(sync_client=True) as client:
        (text,) = [found.data for found in client.read_artifacts() if str(sheet) in str(found.data)]
    assert "data:image/jpeg;base64,/9j/" in text
    assert len(text) < SHEET_BYTES * 4 / 3 + 2000


def test_an_error_is_the_message_of_the_run(at_server, write_scan, tmp_path):
    state = sweep_flow(write_scan("stm_0001.npy"), tmp_path / "sweep", further=["lam"], return_state=True)
    assert state.is_failed()
    assert state.message == "--set lam is not of the form KEY=VALUES, such as median.rows=3,5."
