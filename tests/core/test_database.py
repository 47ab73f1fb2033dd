"""What names a database, and what does not."""

import pytest

from penstock.database import check_url


@pytest.mark.parametrize(
    "url", ["sqlite:penstock.db", "sqlite:/var/lib/penstock.db", "postgresql://u:p@host/db", "postgres:///db"]
)
def test_what_names_a_database(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize("url", ["", "sqlite:", "sqlite://penstock.db", "mysql://host/db", "postgresql:db", "data.db"])
def test_what_does_not(url: str) -> None:
    with pytest.raises(ValueError, match="expected sqlite: and the path of a file, or postgresql://"):
        check_url(url)
