"""What a workflow lacks becomes a spec: the best pack for each class, and a release of ComfyUI that has the others."""

from __future__ import annotations

import pytest

from comfyward.environments.source import parse_comfyui, parse_pack
from comfyward.environments.spec import Spec, parse_spec
from comfyward.environments.wanted import Wanted, name_for, wanted_from, wanted_json
from comfyward.errors import InvalidEnvironment
from comfyward.workflows.offer import Confidence, Offer, Origin

RELEASES = ["0.30.0", "0.3.75", "0.24.1"]
FANCY = Offer("fancy", Origin.MAP, Confidence.LIKELY, "git+https://github.com/someone/fancy@HEAD")
OTHER = Offer("other", Origin.MAP, Confidence.POSSIBLE, "git+https://github.com/someone/other@HEAD")
FILE = Offer("https://example.com/x.py", Origin.MAP, Confidence.LIKELY)


def core(versions: str) -> Offer:
    return Offer("ComfyUI", Origin.CORE, Confidence.CERTAIN, comfyui=versions)


def test_the_best_offer_of_each_class_counts_and_what_cannot_be_added_does_not() -> None:
    wanted = Wanted.of({"A": (FANCY, OTHER), "B": (FANCY,), "C": (FILE,), "D": (core(">=0.18.2"),), "E": ()})

    (pack,) = wanted.packs
    assert (pack.source, pack.classes, pack.origin) == (FANCY.source, ("A", "B"), "map")
    assert wanted.comfyui == ">=0.18.2"
    assert not Wanted.of({"C": (FILE,)})
    assert wanted_from(wanted_json(wanted), wanted.comfyui) == wanted


@pytest.mark.parametrize(
    ("versions", "former", "becomes"),
    [
        ([], None, "0.3.75"),
        ([">=0.18.2"], None, "0.24.1"),
        ([">=0.18.2", ">=0.24.5"], None, "0.30.0"),
        ([">=0.18.2"], "0.30.0", "0.30.0"),
        ([">=99"], "0.24.1", "0.24.1"),
        ([">=0.24.5"], f"git+https://github.com/Comfy-Org/ComfyUI@{'a' * 40}", None),
    ],
)
def test_comfyui_is_the_oldest_release_that_has_the_classes(
    versions: list[str], former: str | None, becomes: str | None
) -> None:
    wanted = Wanted.of({str(number): (core(each),) for number, each in enumerate(versions)})
    spec = wanted.spec(Spec(parse_comfyui(former)) if former else None, RELEASES, "0.3.75")
    assert str(spec.comfyui) == (becomes or former)


def test_packs_that_are_there_are_replaced_by_name() -> None:
    former = parse_spec(
        'comfyui = "0.3.75"\n[[pack]]\nsource = "cnr:fancy@1.0.0"\n[[pack]]\nsource = "cnr:kept@2.0.0"\n'
    )
    spec = Wanted.of({"A": (FANCY,)}).spec(former, RELEASES, "0.3.75")
    assert spec.packs == (parse_pack(str(FANCY.source)), parse_pack("cnr:kept@2.0.0"))


def test_a_workflows_own_word_replaces_no_pack_from_elsewhere() -> None:
    text = 'comfyui = "0.3.75"\n[[pack]]\nsource = "git+https://github.com/%s@main"\n'
    theirs = Offer("fancy", Origin.WORKFLOW, Confidence.LIKELY, "git+https://github.com/stranger/Fancy@HEAD")
    wanted = Wanted.of({"A": (theirs,)})

    with pytest.raises(InvalidEnvironment, match=r"The workflow's own file names .*stranger/Fancy@HEAD, but"):
        wanted.spec(parse_spec(text % "someone/fancy"), RELEASES, "0.3.75")
    for former in (parse_spec(text % "stranger/Fancy"), None):
        assert [str(pack) for pack in wanted.spec(former, RELEASES, "0.3.75").packs] == [str(theirs.source)]


@pytest.mark.parametrize("name", ["A" * 301, "A\u202eB", "A\nB"])
def test_a_class_that_cannot_be_shown_is_not_asked_for(name: str) -> None:
    assert not Wanted.of({name: (FANCY,)})


def test_a_draft_is_named_after_the_workflow() -> None:
    assert name_for("Portraits & more!", []) == "portraits-more"
    assert name_for("Portraits", ["Portraits", "portraits-2"]) == "portraits-3"
    assert name_for("Default", []) == "default-2"
    assert name_for("猫", []) == "draft"
