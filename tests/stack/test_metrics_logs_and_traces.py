"""Prometheus' measures, one JSON object for each log line, and a trace for each run."""

from __future__ import annotations

import json
import re

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from comfyward.delivery.traces import trace_id_of
from tests.fakes.http import Receiver
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save, node


def test_measures_of_the_queue_the_workers_and_the_stages(start_fake: StartFake) -> None:
    stack = start_fake(accelerators="T4", local_accelerators="L4").wait_ready()
    client = stack.client()
    client.run(fake_save("measured"), accelerator="L4")
    client.run({"1": node("FakeError", message="no")}, accelerator="L4")
    client.submit(fake_save("waits"), accelerator="T4")

    text = client.http.get("/metrics").text

    for line in (
        'comfyward_queue_length{pool="T4"} 1.0',
        'comfyward_queue_length{pool="L4"} 0.0',
        'comfyward_leases{pool="L4"} 0.0',
        'comfyward_gpu_busy_share{pool="L4"} 0.0',
        'comfyward_runs_submitted_total{pool="T4"} 1.0',
        'comfyward_runs_ended_total{pool="L4",reason="completed"} 1.0',
        'comfyward_runs_ended_total{pool="L4",reason="node_error"} 1.0',
        'comfyward_stage_seconds_count{pool="L4",stage="execute"} 2.0',
        'comfyward_handed_out_total{models="none",pool="L4"} 2.0',
        "comfyward_webhooks_waiting 0.0",
        'comfyward_environment_queue_length{environment="default"} 1.0',
        'comfyward_environment_leases{environment="default"} 0.0',
        'comfyward_environment_runs_ended_total{environment="default",reason="node_error"} 1.0',
    ):
        assert line in text, text
    assert re.search(r'comfyward_workers\{pool="L4",sandbox="\w+"\} 1\.0', text)
    assert float(re.search(r'comfyward_queue_oldest_seconds\{pool="T4"\} (\S+)', text)[1]) >= 0  # type: ignore[index]


def test_each_run_is_a_line_of_the_log_and_a_trace_of_its_stages(start_fake: StartFake, hook: Receiver) -> None:
    stack = start_fake(log_format="json", otel_endpoint=hook.url.removesuffix("/hook")).wait_ready()
    run = stack.client().run(fake_save("told"))

    request = hook.next()  # of its trace, which is the last that is told

    log = (stack.data_dir / "server.log").read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    [ended] = [line for line in lines if line.get("action") == "run_ended"]
    assert (ended["run"], ended["level"]) == (run["id"], "info")
    assert ended["worker"].startswith("local")
    assert ended["environment"] == "default"

    assert request.path == "/v1/traces"
    exported = ExportTraceServiceRequest.FromString(request.body)
    spans = [span for of in exported.resource_spans for scope in of.scope_spans for span in scope.spans]
    [root] = [span for span in spans if span.name == "run"]
    assert [span.name for span in spans if span is not root] == ["queue", "stage", "execute", "collect"]
    assert {int.from_bytes(span.trace_id, "big") for span in spans} == {trace_id_of(run["id"])}
    assert {span.parent_span_id for span in spans if span is not root} == {root.span_id}
    assert all(root.start_time_unix_nano <= span.start_time_unix_nano for span in spans)
    assert max(span.end_time_unix_nano for span in spans) == root.end_time_unix_nano
