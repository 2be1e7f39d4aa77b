"""What stands between a network camera and the library: what it passes on, and what never."""

import asyncio
import itertools
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from doorstep_cloud.devices.authority import Authority, to_pem
from doorstep_device.adapters import rtsp_relay
from doorstep_device.adapters.clock import SystemClock
from doorstep_device.adapters.rtsp import RtspCamera
from doorstep_device.adapters.rtsp_relay import (
    MOST_ANSWER_BYTES,
    Allowance,
    Answers,
    RtspRelay,
)
from doorstep_device.ports.camera import CameraFailedError, VideoFormat
from tests.rtsp import coded_film, described, rtp, rtp_of, scripted_camera

MIB = 1024 * 1024
DEADLINE_S = 20
LATIN_1 = {b"DESCRIBE": b"RTSP/1.0 200 OK\r\n" + described("Haustür".encode("latin-1"))}


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def filmed(address: str) -> VideoFormat:
    """Start the camera, and stop it when it films."""

    async def scenario() -> VideoFormat:
        async with RtspCamera(address, SystemClock()) as camera:
            return camera.format

    return asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


# ── answers ────────────────────────────────────────────────────────────────────────────


def test_an_answer_is_written_anew_with_the_headers_that_are_known() -> None:
    came = (
        b"RTSP/1.0 200 Fine\r\ncSeq: 3\r\nLocation: rtsp://elsewhere/\r\nX-Notice: 5401\r\n"
        b"Session:\t1;timeout=60\x1b\r\nContent-Length: 4\r\n\r\nv=0\n"
    )
    passed = b"RTSP/1.0 200 -\r\ncseq: 3\r\nsession: 1;timeout=60\r\ncontent-length: 4\r\n\r\nv=0\n"
    assert Answers().feed(came) == passed


@pytest.mark.parametrize("step", [1, 2, 7])
def test_only_whole_answers_and_packets_come_out(step: int) -> None:
    packet = rtp(b"a picture\r\n\r\n", 1)
    came = packet + b"\r\nRTSP/1.0 200 OK\nCSeq: 4\n\n" + packet
    answers, passed = Answers(), bytearray()
    for at in range(0, len(came), step):
        passed += answers.feed(came[at : at + step])
    assert passed == packet + b"RTSP/1.0 200 -\r\ncseq: 4\r\n\r\n" + packet


def test_what_a_camera_asks_for_goes_nowhere() -> None:
    came = b"REDIRECT rtsp://elsewhere/ RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 2\r\n\r\nab"
    assert Answers().feed(came + rtp(b"x", 1)) == rtp(b"x", 1)


@pytest.mark.parametrize("status", [b"300", b"301", b"302", b"303", b"305", b"399"])
def test_a_redirect_is_never_passed_on(status: bytes) -> None:
    with pytest.raises(CameraFailedError, match="another address"):
        Answers().feed(b"RTSP/1.0  %s Moved\r\nLocation: rtsp://elsewhere/\r\n\r\n" % status)


@pytest.mark.parametrize(
    "came",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: four\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
        b"a picture\r\n\r\n",
    ],
)
def test_what_is_no_rtsp_is_refused(came: bytes) -> None:
    with pytest.raises(CameraFailedError, match="something else than RTSP"):
        Answers().feed(came)


@pytest.mark.parametrize(
    "came",
    [
        b"RTSP/1.0 200 OK\r\nContent-Length: 2000000000\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5000),
        b"RTSP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % MOST_ANSWER_BYTES,
        b"RTSP/1.0 200 OK\r\n" + b"X-Name: y\r\n" * (MOST_ANSWER_BYTES // 11),
        b"R" * MOST_ANSWER_BYTES,
    ],
    ids=["told", "told at length", "just too long", "headers", "one line"],
)
def test_an_answer_too_long_is_refused_before_it_is_there(came: bytes) -> None:
    with pytest.raises(CameraFailedError, match="greater length"):
        Answers().feed(came)


def test_more_than_any_picture_takes_is_refused() -> None:
    allowance = Allowance(0.0)
    allowance.take(16 * MIB, 0.0)
    for second in range(1, 60):
        allowance.take(4 * MIB, float(second))
    with pytest.raises(CameraFailedError, match="32 Mbit/s"):
        allowance.take(1, 59.0)


def test_what_was_not_used_is_kept_for_a_while_only() -> None:
    with pytest.raises(CameraFailedError):
        Allowance(0.0).take(16 * MIB + 1, 3600.0)


# ── cameras ────────────────────────────────────────────────────────────────────────────


def refusal_of(address: str) -> CameraFailedError:
    with pytest.raises(CameraFailedError) as caught:
        filmed(address)
    assert caught.value.__context__ is None
    assert "hunter2" not in str(caught.value) + caught.value.do
    return caught.value


@pytest.mark.parametrize("method", [b"OPTIONS", b"DESCRIBE", b"SETUP", b"PLAY"])
def test_a_camera_that_sends_us_elsewhere_is_not_followed(method: bytes) -> None:
    with scripted_camera() as other:
        moved = b"RTSP/1.0 302 Moved\r\nLocation: %s\r\n\r\n" % other.address().encode()
        with scripted_camera({method: moved}) as camera:
            error = refusal_of(camera.address())
    assert "sends us to another address" in error.fact
    assert "own address" in error.do
    assert other.asked == []


def test_a_camera_whose_answer_has_no_end_is_cut_off() -> None:
    told = b"RTSP/1.0 200 OK\r\nContent-Length: 2000000000\r\n\r\n"
    with scripted_camera({b"DESCRIBE": told}) as camera:
        assert "greater length" in refusal_of(camera.address()).fact


def test_a_camera_whose_picture_has_no_end_is_cut_off() -> None:
    """One key frame in parts: a first one, and none that is the last."""
    parts = itertools.chain([b"\x7c\x85"], itertools.repeat(b"\x7c\x05"))
    played = (rtp(part + b"\xaa" * 60_000, number) for number, part in enumerate(parts))
    with scripted_camera(played=played) as camera:
        error = refusal_of(camera.address())
    assert "more than 32 Mbit/s" in error.fact
    assert "720p" in error.do


def test_a_camera_with_any_name_films() -> None:
    played = list(rtp_of(coded_film(seconds=6)))
    with scripted_camera(LATIN_1, played) as camera:
        assert filmed(camera.address()) == VideoFormat(320, 180, 15.0)
    assert any(line.startswith(b"PLAY") for line in camera.asked)


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """A camera's side of TLS, with a certificate that nobody here knows."""
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    certificate = Authority.create(now).issue_server(key.public_key(), ["door.example"], now)
    path = tmp_path / "camera.pem"
    clear = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(clear + to_pem(certificate).encode())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def test_a_camera_within_tls_films(tls: ssl.SSLContext) -> None:
    with scripted_camera(played=list(rtp_of(coded_film(seconds=6))), tls=tls) as camera:
        assert filmed(camera.address("rtsps")).width_px == 320


def test_what_tls_sends_for_itself_is_not_waited_behind(tls: ssl.SSLContext) -> None:
    """After the handshake come tickets: the connection has something, the camera nothing."""
    ours, theirs = socket.socketpair()
    with ThreadPoolExecutor(1) as pool:
        far = pool.submit(tls.wrap_socket, theirs, server_side=True)
        near = rtsp_relay._tls().wrap_socket(ours)
    with near, far.result() as camera:
        near.settimeout(DEADLINE_S)
        assert select.select([near], [], [], DEADLINE_S)[0]
        assert rtsp_relay._received(near) is None
        camera.sendall(b"a picture")
        assert select.select([near], [], [], DEADLINE_S)[0]
        assert rtsp_relay._received(near) == b"a picture"


def test_the_password_reaches_the_camera_as_it_was_written() -> None:
    asks = b'RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="door"\r\n\r\n'
    with scripted_camera({b"DESCRIBE": asks}) as camera:
        assert "refuses this user" in refusal_of(camera.address()).fact
    assert b"Authorization: Basic b3duZXI6aHVudGVyMg==" in camera.asked


def test_a_relay_that_nobody_uses_can_be_closed() -> None:
    with scripted_camera() as camera:
        relay = RtspRelay.connect(camera.address())
        relay.close()
    assert relay.address.startswith("rtsp://owner:hunter2@127.0.0.1:")
