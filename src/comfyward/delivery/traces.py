"""Runs as OpenTelemetry traces: a span for each stage, exported when the run has ended (extra `otel`).

A run's times are in its row, so no context travels between processes: the server that records the end exports all
stages. The trace id is derived from the run's id, so clients can compute it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from comfyward.errors import SetupFailed
from comfyward.runs.run import Run, State
from comfyward.runs.stages import stages_of


def trace_id_of(run_id: str) -> int:
    """The 128-bit id of a run's trace."""
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:16], "big")


def tracer_to(endpoint: str) -> Callable[[Run], None]:
    """A function that exports runs to an OTLP/HTTP endpoint in the background. Raises SetupFailed without the extra."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
        from opentelemetry.trace import Status, StatusCode, set_span_in_context
    except ModuleNotFoundError as error:
        raise SetupFailed(
            "Traces need a package that is not installed.", hint="pip install 'comfyward[otel]'"
        ) from error

    class RunIds(RandomIdGenerator):
        next_trace_id = 0

        def generate_trace_id(self) -> int:
            return self.next_trace_id

    ids = RunIds()
    provider = TracerProvider(resource=Resource.create({"service.name": "comfyward"}), id_generator=ids)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    tracer = provider.get_tracer("comfyward")

    def export(run: Run) -> None:
        ids.next_trace_id = trace_id_of(run.id)
        root = tracer.start_span("run", start_time=_ns(run.created_at), attributes=_attributes(run))
        if run.state is not State.SUCCEEDED:
            root.set_status(Status(StatusCode.ERROR, str(run.end_reason)))
        context = set_span_in_context(root)
        for stage in stages_of(run):
            span = tracer.start_span(stage.name, context=context, start_time=_ns(stage.begin))
            span.end(_ns(stage.end))
        root.end(_ns(run.finished_at or run.updated_at))

    return export


def _ns(milliseconds: int) -> int:
    return milliseconds * 1_000_000


def _attributes(run: Run) -> dict[str, Any]:
    return {
        "comfyward.run": run.id,
        "comfyward.account": run.account_id,
        "comfyward.workflow": run.workflow_id,
        "comfyward.pool": run.pool,
        "comfyward.environment": run.environment_label,
        "comfyward.worker": run.worker_id or "",
        "comfyward.attempt": run.attempt,
        "comfyward.end_reason": str(run.end_reason),
    }
