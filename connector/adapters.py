"""Each acquirer's adapter, made from a connector's settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from connector.adapter import Adapter
from connector.qr_wallet import adapter as qr_wallet
from connector.settings import ConnectorSettings
from connector.unionpay_iso8583 import adapter as unionpay


def build(settings: ConnectorSettings) -> Adapter:
    """The adapter these settings name. Raises SettingsError for a partner file that is none."""
    return _BUILDERS[settings.adapter](settings)


def _unionpay(settings: ConnectorSettings) -> Adapter:
    timing = unionpay.Timing(
        answer_seconds=settings.answer_timeout_seconds,
        reversal_seconds=settings.reversal_timeout_seconds,
        echo_seconds=settings.echo_seconds,
        connections=settings.connections,
    )
    return unionpay.UnionPayAdapter(unionpay.load_partner(settings.partner), timing)


def _qr_wallet(settings: ConnectorSettings) -> Adapter:
    timing = qr_wallet.Timing(
        answer_seconds=settings.answer_timeout_seconds, echo_seconds=settings.echo_seconds
    )
    place = qr_wallet.NoticePlace(
        settings.notice_host, settings.notice_port, settings.data_dir / "notice_port"
    )
    return qr_wallet.QrWalletAdapter(qr_wallet.load_partner(settings.partner), timing, place)


_BUILDERS: Final[dict[str, Callable[[ConnectorSettings], Adapter]]] = {
    "unionpay_iso8583": _unionpay,
    "qr_wallet": _qr_wallet,
}
