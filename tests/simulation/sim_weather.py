"""How bad it is: likelihoods and delays of everything that goes wrong outside of our processes."""

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Weather:
    """Likelihoods are of one call, one envelope, one block; ranges in seconds.

    endorse_fails: nothing endorsed; endorse_hangs: no answer in time. submit_taken: answered
    UNAVAILABLE though taken; submit_lost: the same, and not taken; submit_refused: refused at the
    door; submit_twice: two copies. swallowed: acknowledged and forgotten; held: ordered much
    later. invalid: any other validation code. status_fails, status_hangs: no answer to "what
    became of it". cut: the block stream ends. disk_full: a group of steps is not written.
    """

    endorse_fails: float = 0.0
    endorse_hangs: float = 0.0
    submit_taken: float = 0.0
    submit_lost: float = 0.0
    submit_refused: float = 0.0
    submit_twice: float = 0.0
    swallowed: float = 0.0
    held: float = 0.0
    invalid: float = 0.0
    status_fails: float = 0.0
    status_hangs: float = 0.0
    cut: float = 0.0
    disk_full: float = 0.0
    block_seconds: Range = (0.02, 0.08)
    peer_seconds: Range = (0.002, 0.01)
    call_seconds: Range = (0.002, 0.02)


CALM = Weather()
