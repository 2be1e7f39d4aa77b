"""The service's settings: from the environment, checked once, passed down as plain values."""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from doorstep_shared.errors import RefusedError
from doorstep_shared.settings import wrong_settings

PREFIX: Final = "DOORSTEP_CLOUD_"

_NOTHING: Final = "Nothing was started."

_Port = Annotated[int, Field(ge=1, le=65535)]
_Host = Annotated[str, Field(min_length=1, max_length=253)]


class WrongSettingsError(RefusedError):
    """A setting is unknown, missing or out of bounds."""


class Settings(BaseSettings):
    """One value each, from the environment variable ``DOORSTEP_CLOUD_…``.

    Attributes:
        state_dir: Databases, keys and spool; only its owner may read it.
        public_url: How clients reach the service; part of what they sign.
        is_behind_tls_proxy: Says that one is in front, and that it sets X-Forwarded-For.
        listen_host: Loopback, unless a TLS proxy is in front.
        listen_port: Where HTTP listens.
        broker_host: Where ingest reaches the broker.
        broker_port: The same.
        device_broker_host: Where doorbells reach it; told at enrolment.
        device_broker_port: The same.
        s3_endpoint: The object store.
        s3_bucket: One that exists and is private.
        s3_access_key: Name of its key pair.
        s3_secret_key: Its secret; rather use the next.
        s3_secret_key_file: Read instead of ``s3_secret_key`` when given.
        download_limit: Clips streamed at a time; one more is asked to come back.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    state_dir: Path = Path.home() / ".local/share/doorstep-cloud"
    public_url: Annotated[str, Field(pattern="^https?://[^/?#]+$")] = "http://127.0.0.1:8080"
    is_behind_tls_proxy: bool = False
    listen_host: _Host = "127.0.0.1"
    listen_port: _Port = 8080
    broker_host: _Host = "127.0.0.1"
    broker_port: _Port = 8883
    device_broker_host: _Host = "127.0.0.1"
    device_broker_port: _Port = 8883
    s3_endpoint: Annotated[str, Field(pattern="^https?://")] = "http://127.0.0.1:8333"
    s3_bucket: Annotated[str, Field(min_length=3, max_length=63)] = "clips"
    s3_access_key: str = "doorstep"
    s3_secret_key: SecretStr = SecretStr("")
    s3_secret_key_file: Path | None = None
    download_limit: Annotated[int, Field(ge=1, le=256)] = 8

    @field_validator("listen_host")
    @classmethod
    def _only_loopback_is_clear(cls, host: str, info: ValidationInfo) -> str:
        # Where the other is wrong itself, that is told.
        if not info.data.get("is_behind_tls_proxy", True) and not is_loopback(host):
            raise ValueError(
                f"{host} is not loopback, and this service speaks http; with a TLS proxy in front "
                f"set {PREFIX}IS_BEHIND_TLS_PROXY=true"
            )
        return host

    def read_s3_secret(self) -> str:
        """Return the object store's secret key, from the file when there is one.

        Raises:
            WrongSettingsError: The file cannot be read.
        """
        if self.s3_secret_key_file is None:
            return self.s3_secret_key.get_secret_value()
        try:
            return self.s3_secret_key_file.read_text().strip()
        except OSError as error:
            raise WrongSettingsError(
                f"the file {self.s3_secret_key_file} cannot be read: {error.strerror}",
                safe=_NOTHING,
                do=f"ls -l {self.s3_secret_key_file}        (as named in "
                f"{PREFIX}S3_SECRET_KEY_FILE)",
            ) from error


def read_settings() -> Settings:
    """Return the settings of this process.

    Raises:
        WrongSettingsError: Naming each that is unknown or out of bounds.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted({name for name in os.environ if name.startswith(PREFIX)} - known)
    if unknown:
        raise WrongSettingsError(
            f"no such setting: {', '.join(unknown)}",
            safe=_NOTHING,
            do="doorstep-cloud --help        (names them all)",
        )
    try:
        return Settings()
    except ValidationError as error:
        fact, do = wrong_settings(Settings, PREFIX, error)
        raise WrongSettingsError(fact, safe=_NOTHING, do=do) from error


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine only, by its spelling."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
