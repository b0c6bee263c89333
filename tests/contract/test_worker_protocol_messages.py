"""Golden messages: a change here is a change of the protocol between servers and workers."""

import msgspec
import pytest

from comfyward.runs.run import EndReason
from comfyward.worker.environment_reports import EnvironmentReport, EnvironmentState, PackTrial, Trial
from comfyward.worker.protocol import (
    Ask,
    Assignment,
    Downloading,
    Ended,
    FailureReport,
    FileOrder,
    Heartbeat,
    Hello,
    Memory,
    ModelInMemory,
    ModelOrder,
    NodeProgress,
    NodesCached,
    Orders,
    OutputFile,
    OutputOffer,
    OutputPlace,
    PreviewFrame,
    Produced,
    Released,
    Reports,
    Started,
    Vitals,
    Welcome,
    WorkerInfo,
)

GOLDEN = {
    '{"type":"downloading","path":"/input/a","done":1,"total":2}': Downloading("/input/a", 1, 2),
    '{"type":"started","seq":1}': Started(1),
    '{"type":"progress","node":"3","value":1.0,"maximum":4.0,"done":2,"total":5}': NodeProgress("3", 1.0, 4.0, 2, 5),
    '{"type":"progress","node":"5.0.0.1","value":1.0,"maximum":1.0,"done":2,"total":5,"part":0.5,"finished":true,'
    '"display":"5","parent":"5","real":"5"}': NodeProgress(
        "5.0.0.1", 1.0, 1.0, 2, 5, part=0.5, finished=True, display="5", parent="5", real="5"
    ),
    '{"type":"produced","seq":2,"outputs":[{"name":"a.png","digest":"d","size":3,"content_type":"image/png",'
    '"streamed":true}],"shown":{"outputs":{}}}': Produced(
        2, [OutputFile("a.png", "d", 3, "image/png", streamed=True)], {"outputs": {}}
    ),
    '{"type":"cached","nodes":["1","2"]}': NodesCached(["1", "2"]),
    '{"type":"preview","node":"3","content_type":"image/jpeg","data":"AQI="}': PreviewFrame("3", "image/jpeg", b"\1\2"),
    '{"type":"released","seq":1}': Released(1),
    '{"type":"ended","seq":2,"reason":"completed","outputs":[{"name":"a.png","digest":"d","size":3,'
    '"content_type":"image/png","node_id":"2"}],"shown":{"outputs":{}},"previews":[],'
    '"failure":null,"run_time_ms":7,"log":"","order":["b","a"]}': Ended(
        2,
        EndReason.COMPLETED,
        [OutputFile("a.png", "d", 3, "image/png", "2")],
        {"outputs": {}},
        run_time_ms=7,
        order=["b", "a"],
    ),
    '{"type":"ended","seq":2,"reason":"oom","outputs":[],"shown":{},"previews":[],"failure":{"message":"m","hint":null,"exception_type":null,'
    '"node_id":null,"node_type":null,"traceback":[],"details":{},'
    '"executed":[],"current_inputs":{},"current_outputs":[]},"run_time_ms":null,"log":"l","order":[]}': Ended(
        2, EndReason.OOM, failure=FailureReport("m"), log="l"
    ),
}


@pytest.mark.parametrize("text", GOLDEN)
def test_report_messages(text: str) -> None:
    message = Reports("lease", [GOLDEN[text]])

    encoded = msgspec.json.encode(message)

    assert encoded.decode() == f'{{"lease":"lease","reports":[{text}]}}'
    assert msgspec.json.decode(encoded, type=Reports) == message


def test_hello_messages_and_those_of_the_first_protocol() -> None:
    worker = WorkerInfo("w", "i", "L4", "default", "NVIDIA L4", "host", "bubblewrap", {"comfyward": "1"})
    about = (
        '{"id":"w","incarnation":"i","pool":"L4","environment":"default","device":"NVIDIA L4","host":"host",'
        '"sandbox":"bubblewrap","versions":{"comfyward":"1"}}'
    )

    assert msgspec.json.encode(Hello(worker, "d", 2)).decode() == (
        f'{{"worker":{about},"catalog_digest":"d","protocol":2}}'
    )
    assert msgspec.json.decode(f'{{"worker":{about},"catalog_digest":"d"}}', type=Hello).protocol == 1
    assert msgspec.json.decode('{"lease_s":15,"wants_catalog":true}', type=Welcome) == Welcome(15.0, True, 1)
    offer = '{"name":"a.png","size":3,"sha256":"s"'
    assert msgspec.json.encode(OutputOffer("a.png", 3, "s", True)).decode() == f'{offer},"asks_again":true}}'
    assert msgspec.json.decode(f"{offer}}}", type=OutputOffer).asks_again is False
    assert msgspec.json.encode(OutputPlace(url="u", headers={"a": "b"})).decode() == '{"url":"u","headers":{"a":"b"}}'
    assert msgspec.json.encode(OutputPlace(is_there=True)).decode() == '{"is_there":true}'


def test_heartbeat_and_order_messages() -> None:
    kept = [ModelInMemory("d", "/models/vae/a.pt", 9, 8, 7, pinned=True)]
    models = '{"name":"d","path":"/models/vae/a.pt","size":9,"resident":8,"since":7,"pinned":true}'
    beat = Heartbeat("w", "i", ["l"], 3.5, Vitals(["m"], 1, 2, 3, 4, 5, Memory(6, 7), "cgroups", kept, 8))
    memory = '{"ram_total":6,"ram_free":7,"vram_total":0,"vram_free":0,"torch_vram_total":0,"torch_vram_free":0'
    memory += ',"device_type":"","pytorch_version":""}'
    vitals = '{"warm":["m"],"memory_bytes":1,"cache_bytes":2,"cache_limit_bytes":3,"cache_hits":4,"cache_misses":5'
    vitals += f',"memory":{memory},"limits":"cgroups","models":[{models}],"model_memory_bytes":8}}'

    assert msgspec.json.encode(beat).decode() == (
        f'{{"worker_id":"w","incarnation":"i","leases":["l"],"wait_s":3.5,"vitals":{vitals}}}'
    )
    assert msgspec.json.encode(Orders(log=True)).decode() == (
        '{"lost":[],"cancel":[],"drain":false,"log":true,"environments":[],"learn":[],"models":[],"recall":[]}'
    )
    # A worker that tells nothing of itself is understood, and so is a server that asks for nothing.
    older = b'{"worker_id":"w","incarnation":"i","leases":[],"wait_s":1}'
    assert msgspec.json.decode(older, type=Heartbeat).vitals is None
    assert not msgspec.json.decode(b"{}", type=Orders).log


def test_assignment_messages() -> None:
    files = [FileOrder("/input/a", url="https://h/a"), FileOrder("/input/b", blob="d")]
    prompt, extra = msgspec.Raw(b'{"1":{}}'), msgspec.Raw(b"null")

    encoded = msgspec.json.encode(Assignment("r", "l", 1, prompt, extra, files, ["m"], 60.0, True, account="a"))

    assert encoded.decode() == (
        '{"run_id":"r","lease":"l","attempt":1,"prompt":{"1":{}},"extra_data":null,'
        '"files":[{"path":"/input/a","url":"https://h/a"},{"path":"/input/b","blob":"d"}],'
        '"models":["m"],"timeout_s":60.0,"previews":true,"account":"a"}'
    )
    # An older server names no account, an older worker neither whose ComfyUI it has nor for whom it fetches files.
    assert msgspec.json.decode(encoded.replace(b',"account":"a"', b""), type=Assignment).account == ""
    older = msgspec.json.decode(
        b'{"worker_id":"w","incarnation":"i","idle":true,"warm":[],"holding":[],"wait_s":1}', type=Ask
    )
    assert (older.account, older.staging) == ("", [])


def test_unknown_fields_are_ignored() -> None:
    assert msgspec.json.decode(b'{"cancel":["l"],"new":1}', type=Orders) == Orders(cancel=["l"])


def test_messages_about_environments_and_those_of_workers_that_have_one() -> None:
    worker = WorkerInfo("w", "i", "L4", "default", "x", "h", "none", {}, target="linux-x86_64/py3.11", ready=["d"])
    report = EnvironmentReport("d", EnvironmentState.BUILDING, "Installing packages", 0.5)
    beat = Heartbeat("w", "i", [], 1, environments=[report])
    failed = Trial(False, [PackTrial("p", False, "No module named 'x'")], message="A pack does not import.")

    assert msgspec.json.encode(worker).decode().endswith(',"target":"linux-x86_64/py3.11","ready":["d"]}')
    assert (
        msgspec.json.encode(beat)
        .decode()
        .endswith('"environments":[{"digest":"d","state":"building","step":"Installing packages","part":0.5}]}')
    )
    ordered = msgspec.json.encode(Orders(environments=["d"], models=[ModelOrder("/models/vae/a.pt", "b")])).decode()
    assert ordered.endswith(
        '"environments":["d"],"learn":[],"models":[{"path":"/models/vae/a.pt","digest":"b"}],"recall":[]}'
    )
    assert msgspec.json.encode(failed).decode() == (
        '{"ready":false,"packs":[{"folder":"p","imported":false,"error":"No module named \'x\'"}],'
        '"message":"A pack does not import."}'
    )
    # What nobody said is the ComfyUI with which the worker was started.
    older = msgspec.json.decode(
        b'{"worker_id":"w","incarnation":"i","idle":true,"warm":[],"holding":[],"wait_s":1}', type=Ask
    )
    assert (older.environment, older.ready) == ("", [])
    prompt = msgspec.Raw(b"{}")
    assert b"environment" not in msgspec.json.encode(Assignment("r", "l", 1, prompt, prompt, [], [], 60.0, True))
