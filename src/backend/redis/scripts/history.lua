-- Reads a page of a log, with its top. Starts the log if there is none, and deletes expired entries.
--
-- KEYS: meta (hash) and log (stream) of the log (see log.lua), and its hash of changes (see change.lua). Without the last one, the
--       script returns an empty epoch if a message of the log was ever changed: most logs have no such hash, and while the slot of
--       a key that is missing moves to another server, a call for several keys is refused.
-- ARGV: epoch for a new log, max messages, max age in ms, direction (top, after, newest, before), seq, max entries, max bytes,
--       time to live in ms of a log that never had an entry (empty: that of others), 1 for messages with their changes, their
--       reader (may be empty).
-- Returns epoch, seq and message id of the top, 1 if more entries follow in the direction of reading, and the entries in
-- the form of XRANGE: what stands in the place of an erased one looks like it. For messages with their changes, other entries are
-- left out; then come the lowest and the highest seq that were looked at, and for each message: id and text of the last edit (or
-- empty), 1 if it was retracted, the number of messages that answer it, then the reaction, the number of users, and 1 if the reader
-- is one, for each reaction. At the end, 1 if the room has rights.

-- As many entries are looked at in one call, if it is for messages.
local MAX_LOOKED_AT = 4096
-- Small batches: a large batch of large bodies would be read only to be cut.
local BATCH = 16

local log = read_log(KEYS[1], KEYS[2], ARGV[1])
local max_messages, max_age = tonumber(ARGV[2]), tonumber(ARGV[3])
local direction, from_seq, max_entries, max_bytes = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local empty_ttl, is_folded, reader = tonumber(ARGV[8]), ARGV[9] == '1', ARGV[10]
if log.has_changes and not KEYS[3] then return { '', 0, '', 0, {}, 0, 0, {}, 0 } end
local has_expired = plan_trim(log, max_age, math.huge, math.huge)
local seq = log[SEQ] + 0
local first_seq = log[FIRST] + 0
if not log[MESSAGES] then
  -- A publish may leave a few entries more than the log may hold.
  first_seq = math.max(first_seq, seq - max_messages + 1)
elseif not is_folded then
  -- Where its changes are no longer held, the log is not dense.
  first_seq = math.max(first_seq, log.floor + 1)
end

-- The entries in the place of erased messages, by their id in the stream; those of erased edits are not among them.
local is_retracted = {}

-- Reads all entries from one seq to another, in the form of XRANGE.
local function read_entries(from, to)
  local found = redis.call('XRANGE', log.stream, int(from) .. '-0', int(to) .. '-0')
  if #found > to - from or not KEYS[3] then return found end
  local held, missing, fields = {}, {}, {}
  for _, entry in ipairs(found) do held[entry[1]] = entry end
  for at = from, to do
    local id = int(at) .. '-0'
    if not held[id] then missing[#missing + 1], fields[#fields + 1] = id, change_field(log, 't', int(at)) end
  end
  local erased = redis.call('HMGET', KEYS[3], unpack(fields))
  for i, id in ipairs(missing) do
    local place = unpack_field(KEYS[3], fields[i], erased[i])
    if place then
      held[id] = { id, { 'i', place[1], 'p', place[2], 't', place[3], 'b', place[4] } }
      is_retracted[id] = place[5] == 1
    end
  end
  local entries = {}
  for at = from, to do entries[#entries + 1] = held[int(at) .. '-0'] end
  return entries
end

local erased_messages = is_folded and KEYS[3] and redis.call('HGET', KEYS[3], change_field(log, 'q', ''))
erased_messages = unpack_field(KEYS[3], 'q', erased_messages) or {}

-- Reads at most a batch of the entries from a seq on, forwards or backwards, in the form of XRANGE, and finds the erased messages
-- between them. Returns the entries, the lowest seq first, and the seq up to which these are all.
local function read_messages(at, forward)
  local from, to = forward and at or first_seq, forward and seq or at
  local found
  if forward then
    found = redis.call('XRANGE', log.stream, int(from) .. '-0', int(to) .. '-0', 'COUNT', BATCH)
    if #found == BATCH then to = seq_of(log, found[BATCH]) end
  else
    found = redis.call('XREVRANGE', log.stream, int(to) .. '-0', int(from) .. '-0', 'COUNT', BATCH)
    if #found == BATCH then from = seq_of(log, found[BATCH]) end
  end
  local places, fields = {}, {}
  for _, place in ipairs(erased_messages) do
    if place >= from and place <= to then
      places[#places + 1], fields[#fields + 1] = place, change_field(log, 't', int(place))
    end
  end
  local tombstones, entries, next_place = #fields > 0 and redis.call('HMGET', KEYS[3], unpack(fields)) or {}, {}, 1
  local function add_erased_below(place)
    while places[next_place] and places[next_place] < place do
      local id = int(places[next_place]) .. '-0'
      local erased = unpack_field(KEYS[3], fields[next_place], tombstones[next_place])
      if erased then
        entries[#entries + 1] = { id, { 'i', erased[1], 'p', erased[2], 't', erased[3], 'b', erased[4] } }
        is_retracted[id] = true
      end
      next_place = next_place + 1
    end
  end
  for i = 1, #found do
    local entry = forward and found[i] or found[#found + 1 - i]
    add_erased_below(seq_of(log, entry))
    entries[#entries + 1] = entry
  end
  add_erased_below(to + 1)
  return entries, forward and to or from
end

local page, bytes, more, lowest, highest = {}, 0, 0, seq + 1, seq
if direction ~= 'top' and first_seq <= seq then
  local forward = direction == 'after'
  local at = forward and math.max(from_seq + 1, first_seq) or direction == 'newest' and seq or math.min(from_seq - 1, seq)
  local start, last_seq, is_full, looked_at = at, nil, false, 0
  while not is_full and at >= first_seq and at <= seq do
    local count, finish, batch = is_folded and BATCH or math.min(max_entries - #page, BATCH), nil, nil
    if is_folded then
      batch, finish = read_messages(at, forward)
    else
      finish = forward and math.min(at + count - 1, seq) or math.max(at - count + 1, first_seq)
      batch = forward and read_entries(at, finish) or read_entries(finish, at)
    end
    for i = 1, #batch do
      local entry = forward and batch[i] or batch[#batch + 1 - i]
      local body = entry[2][8] or fail(log.stream, 'entry')
      if not is_folded or is_retracted[entry[1]] or not is_change_body(body) then
        is_full = #page >= max_entries or #page > 0 and bytes + #body > max_bytes
        if is_full then break end
        bytes, page[#page + 1] = bytes + #body, entry
      end
      last_seq = seq_of(log, entry)
    end
    if is_folded and not is_full then last_seq = finish end
    at, looked_at = forward and finish + 1 or finish - 1, looked_at + count
    if not is_folded and #page >= max_entries or looked_at >= MAX_LOOKED_AT then break end
  end
  if last_seq then
    if forward and last_seq < seq or not forward and last_seq > first_seq then more = 1 end
    lowest, highest = math.min(start, last_seq), math.max(start, last_seq)
  end
end

local folds = {}
if is_folded then
  local fields = {}
  for i, entry in ipairs(page) do
    local place = string.match(entry[1], '^%d+')
    for _, kind in ipairs({ 'e', 'r', 'a' }) do fields[#fields + 1] = change_field(log, kind, place) end
  end
  local found = KEYS[3] and #page > 0 and redis.call('HMGET', KEYS[3], unpack(fields)) or {}
  for i, entry in ipairs(page) do
    local function fold_of(kind)
      local at = 3 * i - 3 + kind
      return unpack_field(KEYS[3], fields[at], found[at]) or {}
    end
    local edits, reactions, answers = fold_of(1), fold_of(2), 0
    for _, answer in ipairs(fold_of(3)) do
      if answer >= log[FIRST] + 0 then answers = answers + 1 end
    end
    local fold = { edits[1] or '', edits[2] or '', is_retracted[entry[1]] and 1 or 0, answers }
    for _, users in ipairs(reactions) do
      local is_mine = 0
      for j = 2, #users do
        if users[j] == reader then is_mine = 1 end
      end
      fold[#fold + 1], fold[#fold + 2], fold[#fold + 3] = users[1], #users - 1, is_mine
    end
    folds[i] = fold
  end
end

local ttl = not log.is_new and redis.call('PTTL', log.meta)
if log.is_new then begin(log, max_age, true) end
if log.has_rights then
  -- It stays: without it, the room would be open to all.
elseif seq == 0 and empty_ttl then
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
return { log[EPOCH], seq, log[ID], more, page, lowest, highest, folds, log.has_rights and 1 or 0 }
