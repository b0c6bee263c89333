"""Programs that talk to ComfyUI itself run unchanged when they are pointed at the native port.

PyPI's comfy-api-client 0.1.0 is not among them: its default tracker fails in the client itself
(AttributeError: get_future_with_retry), on any server, and it pins libraries that others cannot use. What its other
tracker needs of us is a name of a file that ends its Content-Disposition (test_comfyuis_own_api.py).
"""

from tests.stack.clients.conftest import RunProgram
from tests.stack.stack import Stack


def test_comfyuis_own_websocket_example(real: Stack, run_python: RunProgram) -> None:
    found = run_python("websockets_example.py", real.native_url.removeprefix("http://"))

    assert found == {"png": True, "name": "example_00001_.png"}


def test_comfy_script(real: Stack, run_python: RunProgram) -> None:
    found = run_python("comfy_script_run.py", f"{real.native_url}/")

    assert found == {"size": [24, 16], "pixel": [0, 0, 255]}


def test_comfy_toolkit(real: Stack, run_python: RunProgram) -> None:
    found = run_python("comfy_toolkit_run.py", real.native_url)

    assert found == {"last step": [13, 13], "name": "toolkit_00001_.png", "png": True, "refusal": True}


def test_stable_canvas_client_by_websocket_and_by_polling(real: Stack, run_node: RunProgram) -> None:
    found = run_node("stable_canvas.mjs", real.native_url.removeprefix("http://"))

    assert found == {"heard": 1, "polled": 1}


def test_saintno_sdk(real: Stack, run_node: RunProgram) -> None:
    found = run_node("saintno.mjs", real.native_url)

    assert found["type"] == "image/png", found
    assert len(found["pictures"]) == 1
