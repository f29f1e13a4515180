-- Access to a log. This text precedes publish.lua and history.lua, which use `now`, `int`, `open_log`, `trim`, `save` and
-- `extend_expiry`.
--
-- KEYS of a log, four in a row: meta (hash), log (stream of <seq>-0), d0 and d1 (dedupe hashes).
-- Fields of meta: e epoch, s seq of the newest entry, i its message id, b total bytes of the bodies in the log, f seq of
--                 the oldest entry, h lower bound of the time at which it was stored, a time at which the newest was.
-- Numbers are written with %.0f, because Lua 5.1 would write a large number as 1e+15.
-- Every number that is read is checked: above MAX_INT, `n + 1 == n` may be true, and a loop over `seq` would never end.

local DAY = 86400000
local META_TTL = 30 * DAY
local MAX_INT = 2 ^ 53 - 1

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function int(number)
  return string.format('%.0f', number)
end

-- Ends the script: a key holds a value that no node wrote.
local function fail(key, what)
  error({ err = 'BADLOG ' .. key .. ' has an invalid ' .. what })
end

-- Reads a number of the log: an integer from 0 to MAX_INT.
local function parse(key, what, text)
  local number = string.match(text or '', '^%d+$') and tonumber(text)
  if not number or number > MAX_INT then fail(key, what) end
  return number
end

-- Extends an expiry, but at most once a day: each extension is a write to the append-only file.
local function extend_expiry(key, ttl)
  if redis.call('PTTL', key) < ttl - DAY then
    redis.call('PEXPIRE', key, int(ttl))
  end
end

-- Reads the meta of a log. Without it, the epoch of any remaining entries is unknown: the log starts again with the new
-- epoch.
local function open_log(first_key, new_epoch, max_age)
  local log = { meta = KEYS[first_key], stream = KEYS[first_key + 1] }
  -- Longer than the life of any entry, and longer than clients usually stay offline.
  log.meta_ttl = math.max(META_TTL, 2 * max_age) + DAY
  log.max_age = max_age
  local meta = redis.call('HMGET', log.meta, 'e', 's', 'i', 'b', 'f', 'h', 'a')
  if meta[1] then
    log.epoch, log.last_id = meta[1], meta[3] or fail(log.meta, 'i')
    log.seq, log.bytes = parse(log.meta, 's', meta[2]), parse(log.meta, 'b', meta[4])
    log.first_seq, log.first_stored_at = parse(log.meta, 'f', meta[5]), parse(log.meta, 'h', meta[6])
    log.last_stored_at = parse(log.meta, 'a', meta[7])
    if log.first_seq < 1 or log.first_seq > log.seq + 1 then fail(log.meta, 'f') end
  else
    log.epoch, log.seq, log.last_id = new_epoch, 0, ''
    log.bytes, log.first_seq, log.first_stored_at, log.last_stored_at = 0, 1, 0, 0
    -- The first write must be one that a full server refuses. After an allowed one, such as DEL, the server would also
    -- accept the following writes of this script.
    redis.call('HSET', log.meta, 'e', new_epoch, 's', 0, 'i', '', 'b', 0, 'f', 1, 'h', 0, 'a', 0)
    redis.call('PEXPIRE', log.meta, int(log.meta_ttl))
    redis.call('DEL', log.stream, KEYS[first_key + 2], KEYS[first_key + 3])
  end
  return log
end

-- Deletes entries that exceed the limits, oldest first, and reads no other entries. The newest entry stays until it is
-- too old, whatever its size. Afterwards `first_stored_at` may be too low, but never too high: a low value costs one
-- extra read of the oldest entry, a high one would keep expired entries. Returns true if entries were deleted.
local function trim(log, max_messages, max_bytes)
  local deadline = now - log.max_age
  local old_first_seq, batch = log.first_seq, 1
  local function exceeds_limits()
    if log.first_seq > log.seq then return false end
    if log.first_stored_at <= deadline then return true end
    return log.first_seq < log.seq and (log.seq - log.first_seq + 1 > max_messages or log.bytes > max_bytes)
  end
  while exceeds_limits() do
    local oldest = redis.call('XRANGE', log.stream, int(log.first_seq) .. '-0', '+', 'COUNT', batch)
    if #oldest == 0 then
      log.first_seq, log.bytes = log.seq + 1, 0
    end
    for _, entry in ipairs(oldest) do
      local fields = entry[2]
      -- This skips entries that no longer exist, because the whole stream expired.
      log.first_seq = parse(log.stream, 'id', string.match(entry[1], '^(%d+)-0$'))
      log.first_stored_at = parse(log.stream, 't', fields[6])
      if log.first_seq > log.seq or not fields[8] then fail(log.stream, 'entry') end
      if log.first_seq == log.seq then log.bytes = #fields[8] end
      if not exceeds_limits() then break end
      log.first_seq, log.bytes = log.first_seq + 1, math.max(0, log.bytes - #fields[8])
    end
    batch = math.min(batch * 4, 64)
  end
  if log.first_seq == old_first_seq then return false end
  redis.call('XTRIM', log.stream, 'MINID', int(log.first_seq) .. '-0')
  return true
end

-- Writes the meta of a log.
local function save(log)
  redis.call('HSET', log.meta, 's', int(log.seq), 'i', log.last_id, 'b', int(log.bytes), 'f', int(log.first_seq),
    'h', int(log.first_stored_at), 'a', int(log.last_stored_at))
end
