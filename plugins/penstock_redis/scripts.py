"""What the server does in one step: Lua, on the server's own clock, so that all clients mean the same time.

The three things that a key can have lie under keys of their own: `penstock:v:` a value as JSON, `penstock:b:` a bucket
as "level seconds", `penstock:l:` leases as a sorted set of holders by the millisecond in which they end.
Commands are replicated by their effects, as Redis 5 and later do.
"""

import hashlib
from typing import NamedTuple


class Script(NamedTuple):
    """Lua, and the name by which a server knows it once it has seen it."""

    text: str
    sha: str


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


ADD = _script("""-- key; amount, milliseconds or ''
local kept = redis.call('GET', KEYS[1])
if kept and not tonumber(kept) then return kept end
local total = string.format('%.17g', (kept or 0) + ARGV[1])
if kept then redis.call('SET', KEYS[1], total, 'KEEPTTL')
elseif ARGV[2] == '' then redis.call('SET', KEYS[1], total)
else redis.call('SET', KEYS[1], total, 'PX', ARGV[2]) end
return total
""")

TAKE = _script("""-- buckets; 'take' or 'settle', then capacity, rate and amount of each bucket
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local kept = redis.call('MGET', unpack(KEYS))
local wait, rests, refills = 0, {}, {}
for i = 1, #KEYS do
  local capacity, rate, amount = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
  local level = capacity
  if kept[i] then
    local before, at = string.match(kept[i], '(%S+) (%S+)')
    level = math.min(capacity, before + math.max(0, now - at) * rate)
  end
  local missing = math.min(amount, capacity) - level
  if missing > capacity * 1e-9 then wait = math.max(wait, missing / rate) end
  rests[i] = math.min(capacity, level - amount)
  refills[i] = math.min(math.ceil((capacity - rests[i]) / rate * 1000), 3e12)
end
if wait == 0 or ARGV[1] == 'settle' then
  for i = 1, #KEYS do
    if refills[i] <= 0 then redis.call('DEL', KEYS[i])
    else
      local state = string.format('%.17g %.6f', rests[i], now)
      redis.call('SET', KEYS[i], state, 'PX', string.format('%.0f', refills[i]))
    end
  end
end
return string.format('%.17g', wait)
""")

LEVELS = _script("""-- buckets; capacity and rate of each
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local kept = redis.call('MGET', unpack(KEYS))
local levels = {}
for i = 1, #KEYS do
  local level = tonumber(ARGV[2 * i - 1])
  if kept[i] then
    local before, at = string.match(kept[i], '(%S+) (%S+)')
    level = math.min(level, before + math.max(0, now - at) * ARGV[2 * i])
  end
  levels[i] = string.format('%.17g', level)
end
return levels
""")

HELD = _script("""-- leases
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
return redis.call('ZCOUNT', KEYS[1], string.format('(%.0f', now), '+inf')
""")

HOLD = _script("""-- leases; limit, holder, milliseconds
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local held = redis.call('ZSCORE', KEYS[1], ARGV[2])
if not held and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[3]), ARGV[2])
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last[2]))
return 1
""")

CLEAR = _script("""-- none; cursor, pattern, how many keys to look at
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local values = 0
for _, key in ipairs(page[2]) do
  local gone = redis.call('UNLINK', key)
  if string.sub(key, 1, 11) == 'penstock:v:' then values = values + gone end
end
return {page[1], values}
""")
