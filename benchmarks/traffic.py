"""What travels in the benchmark: the workloads, their requests, and the upstream's answers as ready-made bytes."""

import json
from collections.abc import Iterator
from itertools import batched, chain
from typing import Any, NamedTuple
