-- One log. Precedes publish.lua and history.lua, which see `now`, `open_log`, `trim`, `save` and `keep`.
--
-- KEYS of a log, four in a row: meta (hash), log (stream of <seq>-0), d0 and d1 (dedupe hashes).
-- meta: e epoch, s seq of the newest, i its message id, b bytes of the bodies held, f seq of the first held,
--       h a time at or before which the first held was stored, a when the newest was stored.
-- Numbers are written with %.0f: Lua 5.1 would spell a large one as 1e+15.

local DAY = 86400000
local META_TTL = 30 * DAY

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function int(number)
  return string.format('%.0f', number)
end

-- Refreshes an expiry, but not more than once a day: each refresh is a write to the append-only file.
local function keep(key, ttl)
  if redis.call('PTTL', key) < ttl - DAY then
    redis.call('PEXPIRE', key, int(ttl))
  end
end

-- Reads a log's meta. Without one, whatever else is left of the log is of an epoch that nobody knows: it starts afresh.
local function open_log(first_key, epoch, max_age)
  local log = { meta = KEYS[first_key], stream = KEYS[first_key + 1] }
  -- Longer than any entry, and longer than anybody stays away.
  log.meta_ttl = math.max(META_TTL, 2 * max_age) + DAY
  log.max_age = max_age
  local meta = redis.call('HMGET', log.meta, 'e', 's', 'i', 'b', 'f', 'h', 'a')
  if meta[1] then
    log.epoch, log.seq, log.last = meta[1], tonumber(meta[2]), meta[3]
    log.bytes, log.first = tonumber(meta[4]), tonumber(meta[5])
    log.head_at, log.at = tonumber(meta[6]), tonumber(meta[7])
  else
    log.epoch, log.seq, log.last, log.bytes, log.first, log.head_at, log.at = epoch, 0, '', 0, 1, 0, 0
    -- First a write that a full server refuses: one that it allows, as DEL is, would open the way to all that follow.
    redis.call('HSET', log.meta, 'e', epoch, 's', 0, 'i', '', 'b', 0, 'f', 1, 'h', 0, 'a', 0)
    redis.call('PEXPIRE', log.meta, int(log.meta_ttl))
    redis.call('DEL', log.stream, KEYS[first_key + 2], KEYS[first_key + 3])
  end
  return log
end

-- Moves `first` over the entries that go, reading no others. The newest one stays until it is too old, whatever its
-- size. `head_at` may be too low after this, never too high: that costs one look at the head, and loses nothing.
local function trim(log, max_messages, max_bytes)
  local deadline = now - log.max_age
  local first, batch = log.first, 1
  local function over()
    if log.first > log.seq then return false end
    if log.head_at <= deadline then return true end
    return log.first < log.seq and (log.seq - log.first + 1 > max_messages or log.bytes > max_bytes)
  end
  while over() do
    local head = redis.call('XRANGE', log.stream, int(log.first) .. '-0', '+', 'COUNT', batch)
    if #head == 0 then
      log.first, log.bytes = log.seq + 1, 0
    end
    for _, entry in ipairs(head) do
      -- Entries that are gone (the stream's own expiry) are passed over here.
      log.first = tonumber(string.match(entry[1], '^%d+'))
      log.head_at = tonumber(entry[2][6])
      if log.first == log.seq then log.bytes = #entry[2][8] end
      if not over() then break end
      log.first, log.bytes = log.first + 1, log.bytes - #entry[2][8]
    end
    batch = math.min(batch * 4, 64)
  end
  if log.first == first then return false end
  redis.call('XTRIM', log.stream, 'MINID', int(log.first) .. '-0')
  return true
end

local function save(log)
  redis.call('HSET', log.meta, 's', int(log.seq), 'i', log.last, 'b', int(log.bytes), 'f', int(log.first),
    'h', int(log.head_at), 'a', int(log.at))
end
