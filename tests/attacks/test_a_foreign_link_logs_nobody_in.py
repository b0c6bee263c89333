"""A link with somebody's key opens the editor as that account only after a press of its button, on this site."""

from tests import loopback
from tests.stack.stack import Client, Stack


def test_a_browser_stays_who_it_was_until_the_button_is_pressed(shared: Stack, tenant: Client) -> None:
    visitor = shared.visitor("has-a-session")
    link = f"/workflows/default/comfy/?token={tenant.key}"

    asked = visitor.get(link)
    assert (asked.status_code, asked.headers.get("set-cookie")) == (200, None)
    assert "Continue as tenant-" in asked.text
    assert tenant.key not in asked.text
    assert visitor.get("/api/v1/me").json()["name"] == "has-a-session"

    elsewhere = loopback.post(f"{shared.url}{link}", headers={"Origin": "https://evil.example"})
    assert (elsewhere.status_code, elsewhere.headers.get("set-cookie")) == (403, None)

    pressed = visitor.post(link)
    assert (pressed.status_code, pressed.headers["location"]) == (303, "/workflows/default/comfy/")
    assert visitor.get("/api/v1/me").json()["name"] != "has-a-session"


def test_pages_of_the_website_take_no_key_from_their_address(shared: Stack, tenant: Client) -> None:
    for path in ("/workflows", "/account", "/runs", "/files"):
        answer = loopback.get(f"{shared.url}{path}?token={tenant.key}")
        assert (answer.status_code, answer.headers.get("set-cookie")) == (303, None), path
        assert answer.headers["location"].startswith("/login")
