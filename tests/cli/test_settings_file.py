"""The settings file of a registry is its commands' too."""

from pathlib import Path

from tests.cli.commands import moorage
from tests.servers import ServerProcess


def test_commands_on_a_folder_take_the_file_that_it_was_last_served_with(tmp_path: Path) -> None:
    config, data = tmp_path / "moorage.toml", tmp_path / "data"
    config.write_text('[mirrors]\nprivate_addresses = ["127.0.0.0/8"]\n')
    add = ("upstream", "add", "lan", "--url", "http://127.0.0.1:9", "--data", str(data))
    with ServerProcess(data, "--config", str(config)):
        assert moorage(*add).code == 0
        assert moorage("upstream", "remove", "lan", "--data", str(data)).code == 0

    with ServerProcess(data):
        refused = moorage(*add)

    assert "mirrors.private_addresses" in refused.refusal


def test_file_that_is_no_longer_there_is_not_missed(tmp_path: Path) -> None:
    config, data = tmp_path / "moorage.toml", tmp_path / "data"
    config.write_text("[delete]\nenabled = false\n")
    with ServerProcess(data, "--config", str(config)):
        config.unlink()

        assert moorage("upstream", "list", "--data", str(data)).code == 0
