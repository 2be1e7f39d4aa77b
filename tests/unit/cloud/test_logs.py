"""Whatever is logged is one JSON object a line."""

import json
import subprocess
import sys

SCRIPT = """
import logging, structlog
from doorstep_cloud.app.logs import configure_logs

configure_logs()
structlog.get_logger().info("ring_stored", event_id="e")
logging.getLogger("library").info("a request with a secret")
try:
    raise ValueError('a "quoted" word\\nand a second line')
except ValueError:
    logging.getLogger("library").exception("it went wrong")
"""


def test_our_logs_and_the_libraries_are_json_lines_without_chatter() -> None:
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": "cloud:shared"},
    ).stderr
    first, second = [json.loads(line) for line in said.splitlines()]
    assert (first["event"], first["event_id"], first["level"]) == ("ring_stored", "e", "info")
    assert first["timestamp"].endswith("Z")
    assert (second["event"], second["level"]) == ("it went wrong", "error")
    assert "ValueError" in second["exception"]
    assert "secret" not in said
