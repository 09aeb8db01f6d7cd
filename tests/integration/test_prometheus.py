"""Alert rules in a real promtool, a real Prometheus at a real station, and the service in systemd's own judgment.

They need programs that CI does not install: apt-get install prometheus systemd, then pytest -m slow.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from programs import PACKAGES, answers, free_port, need, running, until

EXAMPLES = Path(__file__).parents[2] / "examples"
PACKAGES |= {"promtool": "prometheus", "prometheus": "prometheus", "systemd-analyze": "systemd"}
pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_say_what_they_should(tmp_path: Path) -> None:
    promtool = need("promtool")
    for name in ("alerts.yaml", "alerts_test.yaml", "prometheus.yaml"):
        (tmp_path / name).write_text((EXAMPLES / "fleet" / name).read_text())
    (tmp_path / "token").write_text("secret")
    run(promtool, "check", "rules", "alerts.yaml", cwd=tmp_path)
    run(promtool, "test", "rules", "alerts_test.yaml", cwd=tmp_path)
    run(promtool, "check", "config", "prometheus.yaml", cwd=tmp_path)


def test_a_real_prometheus_reads_a_real_station(tiny_bundle: Path, tmp_path: Path) -> None:
    station, port = free_port(), free_port()
    config = (EXAMPLES / "fleet/prometheus.yaml").read_text()
    config = config.replace('"station-left:9108", "station-right:9108"', f'"127.0.0.1:{station}"')
    config = config.replace("    authorization: {credentials_file: token}\n", "").replace("15s", "1s")
    (tmp_path / "prometheus.yaml").write_text(config)
    (tmp_path / "alerts.yaml").write_text((EXAMPLES / "fleet/alerts.yaml").read_text())
    line = [sys.executable, "-m", "edgead", "-q", "run", "--bundle", tiny_bundle, "--engine", "onnx", "--no-health"]
    line += ["--source", "synthetic:64x48@20", "--sink", f"metrics:{station}"]
    server = [
        need("prometheus"),
        f"--config.file={tmp_path / 'prometheus.yaml'}",
        f"--storage.tsdb.path={tmp_path / 'db'}",
    ]
    server += [f"--web.listen-address=127.0.0.1:{port}"]
    with running(*line), running(*server):
        until(lambda: answers(station) and answers(port), 60)

        def ask(query: str) -> list[dict[str, object]]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query={query}", timeout=5) as answer:
                return json.load(answer)["data"]["result"]

        until(lambda: ask("edgead_results_total") and ask("edgead_disk_free_ratio"), 30)
        (info,) = ask("edgead_info")
        assert info["metric"]["model"] == "tiny"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/rules", timeout=5) as answer:
            rules = json.load(answer)["data"]["groups"][0]["rules"]
        assert len(rules) == 10
        assert {rule["health"] for rule in rules} <= {"ok", "unknown"}


def test_the_service_may_do_little() -> None:
    done = run(
        need("systemd-analyze"), "security", "--offline=true", "--no-pager", EXAMPLES / "edgead.service", cwd=EXAMPLES
    )
    exposure = float(done.strip().splitlines()[-1].split("edgead.service:")[1].split()[0])
    assert exposure < 3.0
