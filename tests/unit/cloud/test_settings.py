"""Settings come from the environment, checked once and named when wrong."""

from pathlib import Path

import pytest

from doorstep_cloud.settings import WrongSettingsError, read_settings
from doorstep_shared.errors import RefusedError


def test_the_defaults_are_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read_settings()
    assert settings.listen_host == settings.broker_host == "127.0.0.1"
    monkeypatch.setenv("DOORSTEP_CLOUD_LISTEN_PORT", "9000")
    assert read_settings().listen_port == 9000


def test_an_unknown_setting_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOORSTEP_CLOUD_LISTEN_PROT", "9000")
    with pytest.raises(WrongSettingsError, match="DOORSTEP_CLOUD_LISTEN_PROT"):
        read_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LISTEN_PORT", "0"),
        ("LISTEN_PORT", "http"),
        ("PUBLIC_URL", "door.example"),
        ("PUBLIC_URL", "https://door.example/"),
        ("S3_BUCKET", "x"),
        ("DOWNLOAD_LIMIT", "0"),
        ("DOWNLOAD_LIMIT", "257"),
        ("IS_BEHIND_TLS_PROXY", "maybe"),
        ("BROKER_HOST", ""),
        ("BROKER_HOST", "x" * 254),
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"DOORSTEP_CLOUD_{name}", value)
    with pytest.raises(WrongSettingsError, match=f"DOORSTEP_CLOUD_{name}") as refused:
        read_settings()
    assert refused.value.safe == "Nothing was started."
    assert refused.value.do.startswith(f"export DOORSTEP_CLOUD_{name}=")
    assert "Input should" not in refused.value.fact
    assert "String should" not in refused.value.fact


def test_every_wrong_setting_is_told_at_once_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOORSTEP_CLOUD_LISTEN_PORT", "http")
    monkeypatch.setenv("DOORSTEP_CLOUD_DOWNLOAD_LIMIT", "999")
    with pytest.raises(WrongSettingsError) as refused:
        read_settings()
    assert refused.value.fact == (
        "the setting DOORSTEP_CLOUD_LISTEN_PORT is wrong: it is no whole number; "
        "the setting DOORSTEP_CLOUD_DOWNLOAD_LIMIT is wrong: it is more than 256"
    )
    assert refused.value.do.startswith("export DOORSTEP_CLOUD_LISTEN_PORT=8080 ")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "door.example"])  # noqa: S104
def test_clear_http_is_for_loopback_only(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOORSTEP_CLOUD_LISTEN_HOST", host)
    with pytest.raises(WrongSettingsError, match="is not loopback") as refused:
        read_settings()
    assert refused.value.fact.startswith("the setting DOORSTEP_CLOUD_LISTEN_HOST is wrong: ")
    assert "Value error" not in refused.value.fact
    assert refused.value.do.startswith("export DOORSTEP_CLOUD_LISTEN_HOST=127.0.0.1 ")
    monkeypatch.setenv("DOORSTEP_CLOUD_IS_BEHIND_TLS_PROXY", "true")
    assert read_settings().listen_host == host


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "::1"])
def test_loopback_has_several_spellings(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOORSTEP_CLOUD_LISTEN_HOST", host)
    assert read_settings().listen_host == host


def test_a_secret_comes_from_a_file_or_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOORSTEP_CLOUD_S3_SECRET_KEY", "hunter2")
    assert "hunter2" not in repr(read_settings())
    assert read_settings().read_s3_secret() == "hunter2"
    file = tmp_path / "secret"
    monkeypatch.setenv("DOORSTEP_CLOUD_S3_SECRET_KEY_FILE", str(file))
    with pytest.raises(RefusedError, match="cannot be read"):
        read_settings().read_s3_secret()
    file.write_text("hunter3\n")
    assert read_settings().read_s3_secret() == "hunter3"
