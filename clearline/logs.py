"""Structured logs: one JSON object a line on standard error, with payment and transaction ids.

Secrets never come here; card numbers that slip into a text are cut out before it is written.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from clearline.cards import redact
from clearline.times import render

_FIELDS: Final = "clearline_fields"


class JsonFormatter(logging.Formatter):
    """A record as {"time","level","logger","message",...fields}."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": render(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        for name, value in getattr(record, _FIELDS, {}).items():
            line[name] = _clean(value)
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return orjson.dumps(line, default=str).decode()


def _clean(value: Any) -> Any:
    """A field without card numbers, in lists too."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


class FieldLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that takes fields: `log.info("committed", extra={"tx_id": tx_id})`."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        fields = {**(self.extra or {}), **kwargs.pop("extra", {})}
        kwargs["extra"] = {_FIELDS: fields}
        return msg, kwargs


def get_logger(name: str, **fields: object) -> FieldLogger:
    """The logger of a module; `fields` are written on each of its lines."""
    return FieldLogger(logging.getLogger(name), fields)


def configure(level: str = "INFO") -> None:
    """Send the process's logs to standard error as JSON lines. Call once, in a main function."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # What our lines don't show need not be found out (logging's HOWTO, "Optimization").
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.getLogger("hfc").setLevel(logging.WARNING)  # it writes secrets at DEBUG
