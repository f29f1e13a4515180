-- Reads a page of a log, with its top. Starts the log if there is none, and deletes expired entries.
--
-- KEYS: meta (hash) and log (stream) of the log (see log.lua).
-- ARGV: epoch for a new log, max messages, max age in ms, direction (top, after, newest, before), seq, max entries, max bytes,
--       time to live in ms of a log that never had an entry (empty: that of others).
-- Returns epoch, seq and message id of the top, 1 if more entries follow in the direction of reading, and the entries in
-- the form of XRANGE.

local log = read_log(KEYS[1], KEYS[2], ARGV[1])
local max_messages, max_age = tonumber(ARGV[2]), tonumber(ARGV[3])
local direction, from_seq, max_entries, max_bytes = ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local empty_ttl = tonumber(ARGV[8])
local has_expired = plan_trim(log, max_age, math.huge, math.huge)
local seq = log[SEQ] + 0
-- A publish may leave a few entries more than the log may hold.
local first_seq = math.max(log[FIRST] + 0, seq - max_messages + 1)

local page, bytes, more = {}, 0, 0
if direction ~= 'top' and first_seq <= seq then
  local forward, first = direction == 'after', int(first_seq) .. '-0'
  -- The exclusive bound stays text: a seq that a client invented may be too large for a Lua number.
  local bound = direction == 'newest' and '+' or '(' .. from_seq .. '-0'
  if forward and tonumber(from_seq) < first_seq then bound = first end
  while true do
    local batch
    -- Small batches: a large batch of large bodies would be read only to be cut.
    local count = math.min(max_entries - #page, 16)
    if forward then
      batch = redis.call('XRANGE', log.stream, bound, '+', 'COUNT', count)
    else
      batch = redis.call('XREVRANGE', log.stream, bound, first, 'COUNT', count)
    end
    local full = false
    for _, entry in ipairs(batch) do
      bytes = bytes + #(entry[2][8] or fail(log.stream, 'entry'))
      if #page > 0 and bytes > max_bytes then
        full = true
        break
      end
      page[#page + 1] = entry
      bound = '(' .. entry[1]
    end
    if full or #page >= max_entries or #batch < count then break end
  end
  if #page > 0 then
    local last_seq = tonumber(string.match(page[#page][1], '^%d+'))
    if forward and last_seq < seq or not forward and last_seq > first_seq then more = 1 end
  end
end

local ttl = not log.is_new and redis.call('PTTL', log.meta)
if log.is_new then begin(log, max_age, true) end
if seq == 0 and empty_ttl then
  -- Anyone can enter rooms with invented names.
  if not ttl or ttl < empty_ttl / 2 then redis.call('PEXPIRE', log.meta, int(empty_ttl)) end
elseif ttl and ttl < meta_ttl(max_age) - DAY then
  -- At most once a day: each extension is a write to the append-only file.
  redis.call('PEXPIRE', log.meta, int(meta_ttl(max_age)))
end
-- Only its user reads a private log: from now on it is not that of an invented name.
if log.is_unopened then redis.call('HDEL', log.meta, 'n') end
if has_expired then
  redis.call('XTRIM', log.stream, 'MINID', log[FIRST] .. '-0')
  redis.call('HSET', log.meta, 'f', log[FIRST], 'b', int(log[BYTES]), 'h', int(log[FIRST_AT]))
  if not log.is_older then redis.call('HSET', log.meta, 'z', cmsgpack.pack(unpack(log))) end
end
return { log[EPOCH], seq, log[ID], more, page }
