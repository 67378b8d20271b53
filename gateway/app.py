"""The Flask application a worker serves."""

from __future__ import annotations

from flask import Flask

from gateway import (
    about,
    health,
    http,
    metrics,
    pages,
    payments,
    problems,
    reads,
    receipt_reads,
    refunds,
    settlements,
)
from gateway.availability import Bounds
from gateway.courier import Courier
from gateway.crowding import Crowding
from gateway.health_board import Availabilities
from gateway.http import Services
from gateway.intake import Intake
from gateway.reader import Reader
from gateway.settings import Settings
from gateway.shared_buckets import SharedBuckets
from gateway.waiting import WaitingRoom
from gateway.webhooks import views as webhooks


def create_app(settings: Settings, buckets: SharedBuckets | None = None) -> Flask:
    """An application over the projection and the committer that the settings name; `buckets`
    are for reads, shared by the processes of one server, else it has its own.

    Nothing is opened before the first request, so that it can be made before the committer runs.
    """
    limits = settings.limits
    reader, courier = Reader(settings.projection), Courier(settings.socket)
    bounds = Bounds(limits.acquirer_depth, limits.acquirer_backlog_s)
    acquirers = Availabilities(settings.health_board, bounds)
    crowding = Crowding(acquirers.crowded, reader, limits.intent_bytes)
    app = Flask(__name__, static_folder=None)
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    app.config["MAX_CONTENT_LENGTH"] = limits.batch_bytes
    problems.install(app)
    http.install(
        app,
        Services(
            settings,
            reader,
            courier,
            Intake(settings.network, reader, courier, acquirers.of, crowding, limits.intent_bytes),
            acquirers,
            crowding,
            buckets or SharedBuckets(limits.read_rate, limits.read_burst),
            WaitingRoom(settings.threads, limits.final_waiters),
        ),
    )
    webhooks.install(app, settings)
    rooms = (
        payments, refunds, reads, receipt_reads, settlements, webhooks, about, health, pages,
        metrics,
    )  # fmt: skip
    for room in rooms:
        app.register_blueprint(room.blueprint)
    return app
