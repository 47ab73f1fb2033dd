"""What names a database, and what does not."""

import pytest

from penstock.database import check_url


@pytest.mark.parametrize(
    "url",
    [
        *("sqlite:penstock.db", "sqlite:/var/lib/penstock.db", "sqlite:a#b?c.db"),
        *("postgresql://u:p@host/db", "postgres:///db", "postgresql://host", "postgresql://u:p%23@ss@[::1]:5432/db"),
        *("postgresql://a:1,b:2/db?target_session_attrs=any&sslmode=require", "postgresql:///db?host=/var/run/pg"),
    ],
)
def test_what_names_a_database(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize("url", ["", "sqlite:", "sqlite://penstock.db", "mysql://host/db", "postgresql:db", "data.db"])
def test_what_does_not(url: str) -> None:
    with pytest.raises(ValueError, match="expected sqlite: and the path of a file, or postgresql://"):
        check_url(url)


@pytest.mark.parametrize("password", ["hunter#2", "hunter/2", "hunter?2", "[hunter]", "a:b#hunter"])
def test_nothing_of_a_password_that_is_not_encoded_is_told(password: str) -> None:
    with pytest.raises(ValueError, match="%2F %3F %23") as caught:
        check_url(f"postgresql://user:{password}@localhost:5432/db")
    assert "hunter" not in str(caught.value)
