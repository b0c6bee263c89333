"""A model goes from its origin to the object store once, and from there to other hosts, verified by its digest."""

from __future__ import annotations

import os

from sqlalchemy import Connection, select

from comfyward.store.schema import mirrors
from tests.fakes.http import Origin
from tests.stack.cluster import Cluster
from tests.stack.conftest import StartCluster
from tests.stack.graphs import fake_save
from tests.stack.stack import Client
from tests.stack.waiting import until

MODEL = os.urandom(300_000)


def test_the_second_host_does_not_ask_the_origin(start_cluster: StartCluster, site: Origin) -> None:
    cluster, client = _two_hosts(start_cluster)
    url = site.put("/model.ckpt", MODEL)
    asked = _run(client, url, "L4", site)
    assert asked
    _wait_until_kept(cluster)

    assert _run(client, url, "T4", site) == []
    assert _run(client, url, "T4", site) == []


def test_a_mirror_that_is_not_what_it_should_be_is_passed_over(start_cluster: StartCluster, site: Origin) -> None:
    cluster, client = _two_hosts(start_cluster)
    url = site.put("/model.ckpt", MODEL)
    _run(client, url, "L4", site)
    [key] = _wait_until_kept(cluster)
    bucket, _, prefix = cluster.bucket.removeprefix("s3://").partition("/")
    cluster.s3.client.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=bytes(len(MODEL)))

    assert _run(client, url, "T4", site)  # its digest told, and the origin was asked


def _two_hosts(start_cluster: StartCluster) -> tuple[Cluster, Client]:
    cluster = start_cluster(accelerators="L4,T4")
    cluster.join(1, "L4")
    cluster.join(1, "T4")
    return cluster, cluster.client()


def _run(client: Client, url: str, pool: str, site: Origin) -> list[str]:
    """The requests that the origin got for a run that needs the model."""
    files = {"/models/checkpoints/model.ckpt": url}
    run = client.run(fake_save(pool), accelerator=pool, files=files)
    assert run["status"] == "COMPLETED", run["error"]
    asked = []
    while not site.asked.empty():
        asked.append(site.asked.get())
    return asked


def _wait_until_kept(cluster: Cluster) -> list[str]:
    """The keys of blobs as large as the model, once there is one and its row is written."""
    kept = until(bool, lambda: cluster.servers[0].write(_mirrored))
    return [f"blobs/{digest[:2]}/{digest}" for digest in kept]


def _mirrored(conn: Connection) -> list[str]:
    return list(conn.scalars(select(mirrors.c.digest)))
