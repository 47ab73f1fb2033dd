"""Make an API key: `python -m penstock_auth --user alice --team platform`. Prints it and writes nothing."""

import argparse
import json

from penstock_auth.keys import hash_of, new_key


def main() -> None:
    """Print a fresh key and the lines of the keys file that let it in."""
    parser = argparse.ArgumentParser(prog="python -m penstock_auth", description="Make an API key; writes no file.")
    parser.add_argument("--user", default="me", help="whose key it is (me)")
    parser.add_argument("--team", default="", help="the user's team (none)")
    options = parser.parse_args()
    key = new_key()
    print(f"# The key, for its user; it is shown only here:\n{key}\n")
    print("# An entry of the list `keys:` in the keys file:")
    print(f"  - hash: {hash_of(key)}\n    user: {_text(options.user)}")
    if options.team:
        print(f"    team: {_text(options.team)}")


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # also YAML


if __name__ == "__main__":
    main()
