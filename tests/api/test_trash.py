"""The trash by the API."""

from dataclasses import replace

from tests.api.client import Person, codes
from tests.api.test_tags import REPOSITORY, make_image
from tests.registry.in_process import InProcess


def test_nothing_is_purged_where_deleting_is_switched_off(registry: InProcess, alice: Person) -> None:
    digest = make_image(alice, "1.0")
    deletion = alice.do("DELETE", f"/manifests/{REPOSITORY}?digest={digest}")["deletion"]
    alice.post("/repositories", name="alice/other")
    repository = alice.do("DELETE", "/repositories/alice/other")["deletion"]
    settings = registry.settings
    registry.close()
    registry.settings = replace(settings, delete=replace(settings.delete, enabled=False))
    registry.open()

    for path in (f"/trash/{deletion}", f"/deleted-repositories/{repository}"):
        refused = alice.ask("DELETE", path)
        assert (refused.status, codes(refused)) == (405, ["UNSUPPORTED"])
        assert alice.ask("POST", f"{path}/restore", {} if "deleted" in path else None).status == 200
