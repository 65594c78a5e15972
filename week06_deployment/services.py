"""What `make services` starts of this week: the service of the seminar, nginx before it, Prometheus beside it."""

import json
import shutil
import sys
from pathlib import Path

from effdl.services import Service, answers, free_ports

HERE = Path(__file__).parent

NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream digits {{
        server 127.0.0.1:{backend};
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://digits;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


def _missing(program: str, package: str) -> str:
    return "" if program else f"install {package} (apt-get install {package})"


def services(folder: Path) -> list[Service]:
    """The services of week 6, in the order in which they start.

    Args:
        folder: an empty folder for their configuration and data.
    """
    app, front, watch = free_ports(3)
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin") or ""
    prometheus = shutil.which("prometheus") or ""
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, backend=app, port=front), encoding="utf-8")
    scraped = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(HERE / "deploy/alerts.yml")],
        "scrape_configs": [{"job_name": "digits", "static_configs": [{"targets": [f"127.0.0.1:{app}"]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(scraped), encoding="utf-8")
    return [
        Service(
            "digits",
            [sys.executable, "-m", "week06_deployment.service", "--workers", "2", "--port", str(app)],
            f"http://127.0.0.1:{app}/docs",
            answers(f"http://127.0.0.1:{app}/readyz"),
        ),
        Service(
            "digits behind nginx",
            [nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr"],
            f"http://127.0.0.1:{front}/docs",
            answers(f"http://127.0.0.1:{front}/healthz"),
            missing=_missing(nginx, "nginx"),
        ),
        Service(
            "prometheus",
            [
                prometheus,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/history",
                f"--web.listen-address=127.0.0.1:{watch}",
                "--log.level=warn",
            ],
            f"http://127.0.0.1:{watch}/graph",
            answers(f"http://127.0.0.1:{watch}/-/ready"),
            missing=_missing(prometheus, "prometheus"),
        ),
    ]
