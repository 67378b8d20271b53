"""docs/roles.md says what the tables say that these tests hold the network against."""

import roles_table


def test_the_page_is_made_from_the_tables() -> None:
    written = roles_table.PAGE.read_text(encoding="utf-8")
    assert written == roles_table.page(), "run: python tests/security/roles_table.py"
