"""Tags of videos and sound, by PyAV: of the whole and of each stream, whatever the container calls them."""

from __future__ import annotations

from typing import IO

from comfyward.files.carriers.texts import Texts

_LAYER_3 = (b"\xfb", b"\xfa", b"\xf3", b"\xf2", b"\xe3", b"\xe2")  # of MPEG 1, 2 and 2.5


def container_of(head: bytes) -> str | None:
    """The name of a video's container; None for anything else. (An AVIF picture begins like an MP4.)"""
    if head[4:8] == b"ftyp" and head[8:12] not in (b"avif", b"avis", b"mif1"):
        return "mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    return None


def sound_of(head: bytes) -> str | None:
    """The same for sound."""
    if head[:4] == b"fLaC":
        return "flac"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] in _LAYER_3):
        return "mp3"
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    return None


def add_tags(source: IO[bytes], container: str, texts: Texts) -> None:
    """Takes the tags of a container that cannot refer to other files or URLs. Raises what PyAV raises."""
    import av

    with av.open(source, "r", format=container, metadata_errors="replace") as opened:
        for tagged in (opened, *opened.streams):
            for name, value in tagged.metadata.items():
                texts.add(name, value)
