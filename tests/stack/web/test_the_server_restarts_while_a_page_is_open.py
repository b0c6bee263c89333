"""A page that is open while the server is away: it comes back by itself, with what happened meanwhile."""

from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save
from tests.stack.web.conftest import Enter


def test_an_open_list_recovers(start_fake: StartFake, enter: Enter, account: str) -> None:
    stack = start_fake(lease_s="3").wait_ready()
    page = enter(stack, account)
    page.goto("/runs")
    page.get_by_text("No runs yet").wait_for()

    stack.kill()
    stack.start()
    client = stack.client(account)
    run_id = client.submit(fake_save("while you were away"))
    page.locator(f"#run-{run_id}").wait_for()

    again = client.run(fake_save("and live again"))["id"]
    page.locator(f"#run-{again} .badge", has_text="done").wait_for()
