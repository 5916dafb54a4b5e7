"""Piccolo's configuration, found by its name. `gateway migrate` sets DATABASE_URL before it."""

import os

from piccolo.conf.apps import AppRegistry

from gateway.postgres.database import Database

DB = Database(os.environ.get("DATABASE_URL", ""))
APP_REGISTRY = AppRegistry(apps=["gateway.piccolo_app"])
