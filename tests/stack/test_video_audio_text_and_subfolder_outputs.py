"""Everything under output/ is an output, whatever its type and folder; so are text results."""

import pytest

from tests import loopback
from tests.stack.graphs import node
from tests.stack.stack import Client

pytestmark = pytest.mark.engine

GRAPH = {
    "frames": node("EmptyImage", width=64, height=64, batch_size=4, color=255),
    "video": node("CreateVideo", images=["frames", 0], fps=4.0),
    "save_video": node("SaveVideo", video=["video", 0], filename_prefix="video/clip", format="mp4", codec="h264"),
    "audio": node("EmptyAudio", duration=0.5, sample_rate=44100, channels=2),
    "save_audio": node("SaveAudio", audio=["audio", 0], filename_prefix="sound"),
    "text": node("PreviewAny", source=["size", 0]),
    "size": node("PrimitiveString", value="a text result"),
    "save_deep": node("SaveImage", images=["frames", 0], filename_prefix="a/b/frame"),
}


def test_video_audio_text_and_subfolder_outputs(client: Client, engine_version: str) -> None:
    sound = "sound_00001_.flac" if engine_version == "0.3.75" else "sound_00001.flac"
    run = client.run(GRAPH)

    assert run["status"] == "COMPLETED", run["error"]
    prefix = f"/workflows/{run['workflow_id']}/output/{run['id']}/"
    outputs = {output["filename"].removeprefix(prefix): output for output in run["output"]}
    assert set(outputs) == {
        "video/clip_00001_.mp4",
        sound,
        "text_text.txt",
        *(f"a/b/frame_0000{number}_.png" for number in range(1, 5)),
    }
    assert outputs["text_text.txt"]["text"] == "a text result"
    assert outputs[sound]["content_type"] == "audio/flac"
    assert outputs[sound]["thumbnail_url"] is None

    video = outputs["video/clip_00001_.mp4"]
    assert video["content_type"] == "video/mp4"
    part = loopback.get(video["url"], headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert loopback.get(video["thumbnail_url"]).headers["content-type"] == "image/webp"  # its first frame
