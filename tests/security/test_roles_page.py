"""docs/roles.md says what the tables say that these tests hold the network against."""

import re

import roles_table


def test_the_page_is_made_from_the_tables() -> None:
    written = roles_table.PAGE.read_text(encoding="utf-8")
    assert written == roles_table.page(), "run: python tests/security/roles_table.py"


def test_the_files_it_names_exist() -> None:
    root = roles_table.PAGE.parents[1]
    named = re.findall(r"`(tests/[a-z_/*]+\.py)`", roles_table.page())
    assert named
    assert all(list(root.glob(path)) for path in named)
